package main

import (
	"context"
	"os"

	"github.com/essa-project/essad/essad/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:]))
}
