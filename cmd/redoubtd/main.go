// Command redoubtd is the Redoubt server: a self-hosted Managed HSM that can be lost and rebuilt.
package main

import (
	"os"

	"redoubt/internal/daemon"
)

func main() { os.Exit(daemon.Main()) }
