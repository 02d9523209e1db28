//go:build !race && cgo && linux && (amd64 || arm64)

package main

const race = false
