package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is a process of our own that says on standard output when it is ready.
type server struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of the process; valid once done is closed
}

const readyTime = time.Minute

// startServer starts a program and waits for the line that announced tells to be the one. Both streams go to
// the log file.
func startServer(ctx context.Context, name, log string, env []string, announced func(line string) bool, args ...string) (*server, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	s := &server{name: name, log: log, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stderr = filepath.Dir(log), env, file
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is ours to pass on
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, file.Close()))
	}
	ready := make(chan struct{})
	go func() {
		watch(io.TeeReader(out, file), announced, ready)
		s.err = errors.Join(s.cmd.Wait(), file.Close())
		close(s.done)
	}()
	timer := time.NewTimer(readyTime)
	defer timer.Stop()
	select {
	case <-ready:
		return s, nil
	case <-s.done:
		return nil, fmt.Errorf("%s ended before it was ready: %w\n%s", name, s.err, s.tail())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), s.stop())
	case <-timer.C:
		return nil, errors.Join(fmt.Errorf("%s was not ready within %s\n%s", name, readyTime, s.tail()), s.stop())
	}
}

// watch reads lines to the end and closes ready at the announced one.
func watch(r io.Reader, announced func(string) bool, ready chan<- struct{}) {
	open := true
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if open && announced(lines.Text()) {
			open = false
			close(ready)
		}
	}
}

// stop ends the process, gently at first.
func (s *server) stop() error {
	if s == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended by itself, which the next lines see
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-s.done:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not end within 20 s of SIGTERM", s.name), s.cmd.Process.Kill())
	}
}

// tail is the end of the server's log.
func (s *server) tail() string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return indent(tail(string(b), 30))
}

// startDev starts a dev cloud in dir.
func startDev(ctx context.Context, redoubtd, dir, log string, flags ...string) (*server, error) {
	args := append([]string{redoubtd, "dev", "--verbose", "--data", dir}, flags...)
	return startServer(ctx, "redoubtd dev", log, os.Environ(), func(l string) bool { return strings.HasPrefix(l, "ready ") }, args...)
}

// startAzurite starts Azurite on a free port with accounts ("name:key;name:key") and returns its URL. It takes
// bearer tokens over TLS only, hence the certificate.
func startAzurite(ctx context.Context, azurite, dir, accounts string) (*server, string, error) {
	cert, key, err := selfSigned(dir)
	if err != nil {
		return nil, "", err
	}
	var url string
	announced := func(l string) bool {
		_, at, ok := strings.Cut(l, "successfully listens on ")
		if !ok {
			_, at, ok = strings.Cut(l, "successfully listening at ")
		}
		url = strings.TrimSpace(at)
		return ok
	}
	s, err := startServer(ctx, "Azurite", filepath.Join(dir, "azurite.log"), append(os.Environ(), "AZURITE_ACCOUNTS="+accounts), announced,
		azurite, "--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry",
		"--oauth", "basic", "--cert", cert, "--key", key)
	return s, url, err
}

// selfSigned writes a certificate for 127.0.0.1 and its key, and returns their paths.
func selfSigned(dir string) (cert, key string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Azurite of the runbook test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, k.Public(), k)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "azurite.crt"), filepath.Join(dir, "azurite.key")
	return cert, key, errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}
