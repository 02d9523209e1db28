//go:build race

package fakehost

const underRace = true
