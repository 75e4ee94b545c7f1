package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"redoubt/test/internal/devcloud"
)

// startAzurite starts Azurite on a free port with accounts ("name:key;name:key") and returns its URL. It takes
// bearer tokens over TLS only, hence the certificate.
func startAzurite(ctx context.Context, azurite, dir, accounts string) (*devcloud.Process, string, error) {
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
	s, err := devcloud.Start(ctx, "Azurite", filepath.Join(dir, "azurite.log"), append(os.Environ(), "AZURITE_ACCOUNTS="+accounts), announced,
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
