// Command oracle validates the recording of the compat run.
package main

func main() {}
