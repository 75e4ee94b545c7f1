// Command redoubtd is the Redoubt server: a self-hosted Managed HSM. See internal/daemon.
package main

func main() {}
