//go:build wasmedge && !race

package main

const race = false
