package main

// noResult is an export made by hand that sets no result.
//
//go:wasmexport no_result
func noResult(int32) {}
