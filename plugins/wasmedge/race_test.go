//go:build wasmedge && race

package main

const race = true
