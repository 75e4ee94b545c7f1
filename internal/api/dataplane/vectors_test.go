package dataplane_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// vectorGroup is a key of published vectors with its cases; testdata/vectors/README.md tells the format.
type vectorGroup struct {
	Source string
	Key    map[string]any
	Op     string
	Alg    string
	Import string // "refused": the key itself is one that an HSM must not take
	Cases  []vectorCase
}

type vectorCase struct {
	ID                                 int
	Digest, Sig, In, Out, IV, Tag, AAD string
	Want, Note                         string
}

// vectorOps is the route of each operation and the key_ops it needs.
var vectorOps = map[string]struct{ route, ops string }{
	"verify":  {"verify", "verify"},
	"sign":    {"sign", "sign"},
	"encrypt": {"encrypt", "encrypt"},
	"decrypt": {"decrypt", "decrypt"},
	"unwrap":  {"unwrapkey", "unwrapKey"},
}

// TestVectors sends published vectors through the wire: the key by import, the case to its operation.
func TestVectors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files of vectors, %v", len(files), err)
	}
	covered := make(map[string]bool)
	for _, file := range files {
		groups := readVectors(t, file)
		for _, g := range groups {
			covered[g.Alg] = true
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			s := hsmtest.New(t)
			s.Active(hsmName)
			w := s.Serve()
			token := s.Token(hsmtest.User, hsmtest.Devices)
			ask := func(method, path string, body any) hsmtest.Answer {
				return w.Do(hsmtest.Ask{Method: method, Host: host, Path: path + "?api-version=2026-04-01", Token: token, Body: body})
			}
			for i, g := range groups {
				runVectors(t, ask, fmt.Sprintf("/keys/v%d", i), g)
			}
		})
	}
	for _, alg := range strings.Fields(`RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 ES256K HS256 HS384 HS512 RSA-OAEP RSA-OAEP-256 RSA1_5
		A128GCM A192GCM A256GCM A128CBC A192CBC A256CBC A128CBCPAD A192CBCPAD A256CBCPAD A128KW A192KW A256KW CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD`) {
		if !covered[alg] {
			t.Errorf("no vectors of %s", alg)
		}
	}
}

func readVectors(t *testing.T, file string) []vectorGroup {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var groups []vectorGroup
	if err := json.Unmarshal(b, &groups); err != nil || len(groups) == 0 {
		t.Fatalf("%s: %d groups, %v", file, len(groups), err)
	}
	return groups
}

func runVectors(t *testing.T, ask func(method, path string, body any) hsmtest.Answer, key string, g vectorGroup) {
	t.Helper()
	op := vectorOps[g.Op]
	g.Key["key_ops"] = []string{op.ops}
	a := ask("PUT", key, map[string]any{"key": g.Key})
	if g.Import == "refused" {
		a.WantError(http.StatusBadRequest, "BadParameter", "", "p and q")
		return
	}
	if a.Status != http.StatusOK {
		t.Errorf("%s: import of a key for %s: %d %s", g.Source, g.Alg, a.Status, a.Body)
		return
	}
	for _, v := range g.Cases {
		body := map[string]string{"alg": g.Alg, "value": v.In}
		switch g.Op {
		case "verify":
			body["digest"], body["value"] = v.Digest, v.Sig
		case "sign":
			body["value"] = v.Digest
		}
		for member, text := range map[string]string{"iv": v.IV, "tag": v.Tag, "aad": v.AAD} {
			if text != "" {
				body[member] = text
			}
		}
		if problem := judge(ask("POST", key+"//"+op.route, body), g, v); problem != "" {
			t.Errorf("%s, %s %s, case %d %s: %s", g.Source, g.Op, g.Alg, v.ID, v.Note, problem)
		}
	}
}

// judge says what is wrong with an answer, or nothing.
func judge(a hsmtest.Answer, g vectorGroup, v vectorCase) string {
	if v.Want == "refused" {
		if a.Status != http.StatusBadRequest || !strings.Contains(string(a.Body), `"code":"BadParameter"`) {
			return fmt.Sprintf("%d %s, want 400 BadParameter", a.Status, a.Body)
		}
		return ""
	}
	var got struct{ Value any }
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &got) != nil {
		return fmt.Sprintf("%d %s", a.Status, a.Body)
	}
	want := v.Out
	if g.Op == "sign" {
		want = v.Sig
	}
	if v.Want == "equal" && got.Value != want || v.Want == "true" && got.Value != true || v.Want == "false" && got.Value != false {
		return fmt.Sprintf("value %v, want %s %s", got.Value, v.Want, want)
	}
	return ""
}
