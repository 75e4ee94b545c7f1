package main

import (
	"fmt"
	"os"
	"slices"
)

// failure is what a step panics with.
type failure struct{ err error }

// guarded runs code that panics with a failure, which becomes an error.
func guarded(do func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failure)
			if !ok {
				panic(p)
			}
			err = f.err
		}
	}()
	do()
	return nil
}

// must returns what a call returned, and fails on its error.
func must[T any](v T, err error) T {
	fatal(err)
	return v
}

func fatal(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// want fails unless ok.
func want(ok bool, format string, args ...any) {
	if !ok {
		panic(failure{fmt.Errorf(format, args...)})
	}
}

// equal fails unless got is wanted.
func equal[T comparable](got, wanted T, what string) {
	want(got == wanted, "%s: got %v, want %v", what, got, wanted)
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

func step(format string, args ...any) { fmt.Printf("step: "+format+"\n", args...) }

func env(name string) string {
	v := os.Getenv(name)
	want(v != "", "the variable %s is not set", name)
	return v
}
