package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/test/internal/devcloud"
)

// The verb signin: every program signs in with nothing but env.sh in its environment, as its client's default
// credential does, and as an application with a certificate and with a federated token. There is no recorder.

const (
	signInVerb = "signin"

	workloadIssuer  = "https://issuer.compat.example/cluster"
	workloadSubject = "system:serviceaccount:compat:signer"
)

// workload is an application of the dev cloud that has no secret.
type workload struct {
	ObjectID    string `json:"id"`
	AppID       string `json:"appId"`
	certificate string // PEM file with key and certificate
	token       string // file with a token of the issuer
}

// identity runs redoubtd identity against the running server.
func (w *world) identity(ctx context.Context, dst any, args ...string) error {
	args = append(append([]string{"identity"}, args...), "--data", w.cloud())
	c := exec.CommandContext(ctx, filepath.Join(w.bin, "redoubtd"), args...)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("redoubtd %s: %w: %s", args, err, said.String())
	}
	return json.Unmarshal(out, dst)
}

// addWorkload makes the application, its certificate, and an issuer elsewhere that vouches for it.
func (w *world) addWorkload(ctx context.Context) error {
	w.workload.certificate, w.workload.token = filepath.Join(w.work, "workload.pem"), filepath.Join(w.work, "workload.jwt")
	jwks, err := makeFederatedToken(w.workload.token)
	if err != nil {
		return err
	}
	keys := filepath.Join(w.work, "issuer.json")
	if err := os.WriteFile(keys, jwks, 0o600); err != nil {
		return err
	}
	if err := w.identity(ctx, &w.workload, "app", "add", "compat-workload", "--no-secret"); err != nil {
		return err
	}
	var ignored any
	for _, args := range [][]string{{"app", "add-certificate", w.workload.AppID, "--create", w.workload.certificate},
		{"app", "add-federated", w.workload.AppID, "--name", "compat", "--issuer", workloadIssuer, "--subject", workloadSubject},
		{"issuer", "set", workloadIssuer, "--jwks", keys}} {
		if err := w.identity(ctx, &ignored, args...); err != nil {
			return err
		}
	}
	return nil
}

// makeFederatedToken writes a token of the issuer and returns the issuer's key set.
func makeFederatedToken(file string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "compat"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"iss": workloadIssuer, "sub": workloadSubject, "aud": []string{"api://AzureADTokenExchange"},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	if err != nil {
		return nil, err
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		return nil, err
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return nil, err
	}
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "compat", Algorithm: string(jose.ES256), Use: "sig"}}})
}

// signInProgram runs the verb signin of a program in a shell that has read env.sh.
func (w *world) signInProgram(ctx context.Context, name, home, dir string) *exec.Cmd {
	c := exec.CommandContext(ctx, "sh", "-ec", `. "$1"; shift; exec "$@"`, "sh", filepath.Join(w.cloud(), "env.sh"), filepath.Join(w.root, "test", "compat", name, "run"), signInVerb)
	c.Dir = dir
	c.Env = append(devcloud.CleanEnv(os.Environ()), append(w.contract(name, proxyMode, home),
		"REDOUBT_WORKLOAD_CLIENT_ID="+w.workload.AppID, "REDOUBT_WORKLOAD_CERTIFICATE="+w.workload.certificate, "REDOUBT_WORKLOAD_TOKEN_FILE="+w.workload.token)...)
	return c
}
