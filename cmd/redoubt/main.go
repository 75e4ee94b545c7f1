// Command redoubt is the operator's tool of Redoubt. See internal/cli.
package main

import (
	"os"

	"redoubt/internal/cli"
)

func main() { os.Exit(cli.Main()) }
