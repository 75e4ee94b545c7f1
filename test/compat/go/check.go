package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// failure is what a step panics with.
type failure struct{ err error }

// must returns what a call returned, and fails on its error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(failure{err})
	}
	return v
}

// want fails unless ok.
func want(ok bool, format string, args ...any) {
	if !ok {
		panic(failure{fmt.Errorf(format, args...)})
	}
}

// refused fails unless err is an answer with this status and code.
func refused(err error, status int, code, what string) {
	var e *azcore.ResponseError
	want(errors.As(err, &e), "%s: want %d %s, got %v", what, status, code, err)
	want(e.StatusCode == status && e.ErrorCode == code, "%s: want %d %s, got %d %s", what, status, code, e.StatusCode, e.ErrorCode)
}

func step(format string, args ...any) { fmt.Printf("step: "+format+"\n", args...) }

func env(name string) string {
	v := os.Getenv(name)
	want(v != "", "the variable %s is not set", name)
	return v
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func to[T any](v T) *T { return &v }
