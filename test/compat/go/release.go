package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// environment is a trusted execution environment, as far as an HSM can see: a key, and tokens of an attestation
// service that say so.
type environment struct {
	key *rsa.PrivateKey
}

// token has the dev cloud's test attestation service sign claims about the environment.
func (e environment) token(ctx context.Context, claims map[string]any) string {
	body := must(json.Marshal(map[string]any{"claims": claims, "key": map[string]any{"kty": "RSA", "kid": "environment", "use": "enc",
		"n": raw(e.key.N.Bytes()), "e": raw{1, 0, 1}}}))
	rq := must(http.NewRequestWithContext(ctx, http.MethodPost, env("REDOUBT_ATTESTATION")+"/generate-test-token", bytes.NewReader(body)))
	rq.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{}).Do(rq)
	must(0, err)
	defer res.Body.Close()
	answer := must(io.ReadAll(res.Body))
	want(res.StatusCode == http.StatusOK, "the attestation service answers %d %s", res.StatusCode, answer)
	var out struct {
		Token string `json:"token"`
	}
	must(0, json.Unmarshal(answer, &out))
	return out.Token
}

// open decrypts what was wrapped to the environment: an AES key under OAEP, and the payload under that key.
func (e environment) open(h hash.Hash, wrapped []byte) []byte {
	size := e.key.Size()
	return keyUnwrapPadded(must(rsa.DecryptOAEP(h, nil, e.key, wrapped[:size], nil)), wrapped[size:])
}

// releasePolicy lets keys go to environments of which the attestation service says that they are tested.
func releasePolicy() *azkeys.KeyReleasePolicy {
	return &azkeys.KeyReleasePolicy{EncodedPolicy: must(json.Marshal(map[string]any{"version": "1.0.0", "anyOf": []any{map[string]any{"authority": env("REDOUBT_ATTESTATION"),
		"allOf": []any{map[string]any{"claim": "compat", "equals": "tested"}}}}}))}
}

// releases lets a key out to a trusted environment.
func (s *session) releases() {
	name := s.key("released")
	made := must(s.client.CreateKey(s.ctx, name, azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP256),
		KeyOps: append(slices.Clone(signVerify), to(azkeys.KeyOperation("export"))), KeyAttributes: &azkeys.KeyAttributes{Exportable: to(true)}, ReleasePolicy: releasePolicy()}, nil)).KeyBundle
	want(*made.Attributes.Exportable && made.ReleasePolicy != nil && !value(made.ReleasePolicy.Immutable), "%s: not exportable, or without its policy", name)
	e := environment{must(rsa.GenerateKey(rand.Reader, 2048))}
	good := e.token(s.ctx, map[string]any{"compat": "tested"})
	for alg, h := range map[azkeys.KeyEncryptionAlgorithm]hash.Hash{azkeys.KeyEncryptionAlgorithmCKMRSAAESKEYWRAP: sha1.New(),
		azkeys.KeyEncryptionAlgorithmRSAAESKEYWRAP256: sha256.New(), azkeys.KeyEncryptionAlgorithmRSAAESKEYWRAP384: sha512.New384()} {
		got := must(s.client.Release(s.ctx, name, made.Key.KID.Version(), azkeys.ReleaseParameters{TargetAttestationToken: &good, Nonce: to("nonce-" + string(alg)), Algorithm: &alg}, nil))
		sealed := checkRelease(*got.Value, "nonce-"+string(alg), string(*made.Key.KID))
		out, ok := must(x509.ParsePKCS8PrivateKey(e.open(h, sealed))).(*ecdsa.PrivateKey)
		want(ok && bytes.Equal(must(out.PublicKey.Bytes())[1:], append(bytes.Clone(made.Key.X), made.Key.Y...)), "%s: another key was released", alg)
		digest := digestFor("ES256", "signed outside")
		r, t := must2(ecdsa.Sign(rand.Reader, out, digest))
		p := azkeys.VerifyParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Digest: digest, Signature: append(r.FillBytes(make([]byte, 32)), t.FillBytes(make([]byte, 32))...)}
		want(*must(s.client.Verify(s.ctx, name, "", p, nil)).Value, "%s: what the released key signs does not verify", alg)
	}
	other := e.token(s.ctx, map[string]any{"compat": "untested"})
	_, err := s.client.Release(s.ctx, name, "", azkeys.ReleaseParameters{TargetAttestationToken: &other}, nil)
	refused(err, 403, "Forbidden", "release to an environment that the policy does not want")
	_, err = s.client.Release(s.ctx, s.key("ec-256"), "", azkeys.ReleaseParameters{TargetAttestationToken: &good}, nil)
	want(err != nil, "a key that is not exportable was released")
	s.changePolicy(name)
	step("released a key by each enc, and verified the answers")
}

// changePolicy makes the policy immutable.
func (s *session) changePolicy(name string) {
	p := releasePolicy()
	p.Immutable = to(true)
	changed := must(s.client.UpdateKey(s.ctx, name, "", azkeys.UpdateKeyParameters{ReleasePolicy: p}, nil)).KeyBundle
	want(value(changed.ReleasePolicy.Immutable), "the policy has not become immutable")
	p.EncodedPolicy = bytes.ReplaceAll(p.EncodedPolicy, []byte("tested"), []byte("untested"))
	_, err := s.client.UpdateKey(s.ctx, name, "", azkeys.UpdateKeyParameters{ReleasePolicy: p}, nil)
	want(err != nil, "an immutable policy was changed")
}

func must2[T, U any](t T, u U, err error) (T, U) {
	must(0, err)
	return t, u
}

// checkRelease verifies the JWS of a release by its own certificates and returns the wrapped key.
func checkRelease(jws, nonce, kid string) []byte {
	parts := strings.Split(jws, ".")
	want(len(parts) == 3, "the answer of a release has %d parts", len(parts))
	var header struct {
		Alg string
		X5C [][]byte `json:"x5c"`
	}
	must(0, json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[0])), &header))
	want(len(header.X5C) >= 2, "%d certificates", len(header.X5C))
	leaf, root := must(x509.ParseCertificate(header.X5C[0])), must(x509.ParseCertificate(header.X5C[len(header.X5C)-1]))
	must(0, leaf.CheckSignatureFrom(root))
	digest, sig := sha256.Sum256([]byte(parts[0]+"."+parts[1])), must(base64.RawURLEncoding.DecodeString(parts[2]))
	switch pub := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		want(header.Alg == "ES256" && len(sig) == 64 && ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])), "the answer of a release is not signed (%s)", header.Alg)
	case *rsa.PublicKey:
		want(header.Alg == "RS256", "the answer of a release is signed with %s", header.Alg)
		must(0, rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig))
	default:
		want(false, "the leaf's key is a %T", pub)
	}
	var payload struct {
		Request struct {
			Nonce string `json:"nonce"`
		} `json:"request"`
		Response struct {
			Key struct {
				Key struct {
					Kid    string `json:"kid"`
					KeyHSM raw    `json:"key_hsm"`
				} `json:"key"`
			} `json:"key"`
		} `json:"response"`
	}
	must(0, json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[1])), &payload))
	want(payload.Request.Nonce == nonce && payload.Response.Key.Key.Kid == kid, "released %s with the nonce %s", payload.Response.Key.Key.Kid, payload.Request.Nonce)
	var sealed struct {
		Ciphertext raw `json:"ciphertext"`
	}
	must(0, json.Unmarshal(payload.Response.Key.Key.KeyHSM, &sealed))
	return sealed.Ciphertext
}

// secureWraps has the HSM make a key that nobody sees but a trusted environment. The client does not know these two
// operations yet; its requests to wrap and unwrap are turned into them on their way.
func (s *session) secureWraps() {
	o := s.options
	o.APIVersion = "2026-04-01"
	e := environment{must(rsa.GenerateKey(rand.Reader, 2048))}
	o.PerCallPolicies = []policy.Policy{secureWrap{e.token(s.ctx, map[string]any{"compat": "tested"})}}
	c := must(azkeys.NewClient(s.url, s.user, &azkeys.ClientOptions{ClientOptions: o}))
	name := s.key("secure-wrap")
	must(c.CreateKey(s.ctx, name, azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeOctHSM), KeySize: to[int32](256), ReleasePolicy: releasePolicy(),
		KeyOps: []*azkeys.KeyOperation{to(azkeys.KeyOperation("secureWrapKey")), to(azkeys.KeyOperation("secureUnwrapKey"))}}, nil))
	alg := azkeys.EncryptionAlgorithm("A256KWPAD")
	wrapped := must(c.WrapKey(s.ctx, name, "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: []byte{0}}, nil)).Result
	var keys [][]byte
	for range 2 {
		got := must(c.UnwrapKey(s.ctx, name, "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: wrapped}, nil)).Result
		keys = append(keys, e.open(sha1.New(), got))
	}
	want(len(keys[0]) == 32 && bytes.Equal(keys[0], keys[1]), "secure unwrap gives keys of %d and %d bytes", len(keys[0]), len(keys[1]))
	step("secure wrap and unwrap")
}

// secureWrap turns wrapkey into securewrapkey, and unwrapkey into secureunwrapkey with a target.
type secureWrap struct{ target string }

// Do implements policy.Policy.
func (p secureWrap) Do(rq *policy.Request) (*http.Response, error) {
	u := rq.Raw().URL
	at := strings.LastIndexByte(u.Path, '/')
	verb := u.Path[at+1:]
	if verb != "wrapkey" && verb != "unwrapkey" {
		return rq.Next()
	}
	u.Path, u.RawPath = u.Path[:at+1]+"secure"+verb, ""
	var body map[string]any
	if err := json.NewDecoder(rq.Body()).Decode(&body); err != nil {
		return nil, err
	}
	if verb == "wrapkey" {
		delete(body, "value")
	} else {
		body["target"] = p.target
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	if err := rq.SetBody(readSeekCloser{bytes.NewReader(b)}, "application/json"); err != nil {
		return nil, err
	}
	return rq.Next()
}

type readSeekCloser struct{ *bytes.Reader }

// Close implements io.Closer.
func (readSeekCloser) Close() error { return nil }

// keyUnwrapPadded is the inverse of keyWrapPadded.
func keyUnwrapPadded(kek, wrapped []byte) []byte {
	block := must(aes.NewCipher(kek))
	out := bytes.Clone(wrapped)
	n := len(out)/8 - 1
	var b [16]byte
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(out)^uint64(n*j+i))
			copy(b[8:], out[8*i:8*i+8])
			block.Decrypt(b[:], b[:])
			copy(out, b[:8])
			copy(out[8*i:], b[8:])
		}
	}
	size := int(binary.BigEndian.Uint32(out[4:8]))
	want(binary.BigEndian.Uint32(out) == 0xa65959a6 && size <= 8*n && size > 8*(n-1), "what was wrapped does not open")
	return out[8 : 8+size]
}
