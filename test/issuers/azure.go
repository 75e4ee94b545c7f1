package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"redoubt/test/internal/devcloud"
)

// azure runs az behind a proxy, and decodes what it prints unless into is nil.
func (r *run) azure(ctx context.Context, p *proxy, ca string, into any, args ...string) error {
	c := exec.CommandContext(ctx, filepath.Join(r.cache, "azure-cli-2.91.0", "bin", "az"), append(args, "--only-show-errors", "-o", "json")...)
	c.Env = append(append(devcloud.CleanEnv(os.Environ()), p.variables(ca)...), "HOME="+r.dir, "PATH="+os.Getenv("PATH"),
		"AZURE_CONFIG_DIR="+r.path("azure"), "AZURE_CORE_COLLECT_TELEMETRY=false")
	c.Dir = r.dir
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		return fmt.Errorf("az %s: %w\n%s", strings.Join(args[:min(3, len(args))], " "), err, devcloud.Indent(said.String()))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(out.Bytes(), into)
}
