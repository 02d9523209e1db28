// Module makes package everytype a module, for the tests that hold other languages to the same bytes. Nothing imports it.
package main

import _ "github.com/essa-project/essad/sdk/guest/essagen/internal/everytype"

func main() {}
