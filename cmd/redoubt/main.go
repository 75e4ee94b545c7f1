// Command redoubt is the operator's tool of Redoubt. See internal/cli.
package main

func main() {}
