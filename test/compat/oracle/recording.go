package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// exchange is one line of the recording: a request and its answer.
type exchange struct {
	Program, Mode, Verb, Host, Method string

	Target         string // path and query as they were sent
	RequestHeader  http.Header
	RequestBody    string
	Status         int
	ResponseHeader http.Header
	ResponseBody   string
}

// path is the path as it was sent, still escaped.
func (e exchange) path() string {
	p, _, _ := strings.Cut(e.Target, "?")
	return p
}

func (e exchange) query() (url.Values, error) {
	_, q, _ := strings.Cut(e.Target, "?")
	return url.ParseQuery(q)
}

// readRecording passes every exchange in the files of dir to do.
func readRecording(dir string, do func(exchange)) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(bytes.NewReader(b))
		lines.Buffer(nil, 16<<20)
		for n := 1; lines.Scan(); n++ {
			var e exchange
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				return fmt.Errorf("%s:%d: %w", f, n, err)
			}
			do(e)
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}
