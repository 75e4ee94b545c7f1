// Package attest is a test attestation service: it signs whatever claims it is asked to sign, so that secure key release can be tried
// without a trusted execution environment. It belongs to the dev cloud and its loopback listener only; a server for real use
// trusts attestation services by configuration and never this one.
//
// It has the shape of the service that Azure's SDKs test with: OpenID metadata, a key set, and GET /generate-test-token. How to use it is
// in docs/attestation-dev.md.
package attest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/api/azhttp"
)

// Config is what the service needs. All fields are required.
type Config struct {
	Key   *rsa.PrivateKey                // signs tokens
	Base  func(host string) (url string) // issuer for a client that reached host, no slash at the end
	Clock func() time.Time
	Log   *slog.Logger
}

// Handler answers for the service.
type Handler struct {
	cfg    Config
	kid    string
	cert   string // self-signed certificate of the key, base64 DER
	signer jose.Signer
	routes *azhttp.Router[func(*Handler, *azhttp.Request) (azhttp.Reply, error)]
}

// New makes the service.
func New(cfg Config) (*Handler, error) {
	spki, err := x509.MarshalPKIXPublicKey(cfg.Key.Public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(spki)
	h := &Handler{cfg: cfg, kid: base64.RawURLEncoding.EncodeToString(sum[:])}
	t := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(sum[:16]), Subject: pkix.Name{CommonName: "Redoubt dev attestation"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, cfg.Key.Public(), cfg.Key)
	if err != nil {
		return nil, err
	}
	h.cert = base64.StdEncoding.EncodeToString(der)
	h.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: cfg.Key, KeyID: h.kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	var rows []azhttp.Route[func(*Handler, *azhttp.Request) (azhttp.Reply, error)]
	for _, r := range routes {
		rows = append(rows, azhttp.Route[func(*Handler, *azhttp.Request) (azhttp.Reply, error)]{Method: r.method, Pattern: r.pattern, Handle: r.handle})
	}
	h.routes = azhttp.NewRouter(rows)
	return h, nil
}

var routes = []struct {
	method, pattern string
	handle          func(*Handler, *azhttp.Request) (azhttp.Reply, error)
}{
	{"GET", ".well-known/openid-configuration", (*Handler).metadata},
	{"GET", "certs", (*Handler).certs},
	{"GET", "generate-test-token", (*Handler).standard},
	{"POST", "generate-test-token", (*Handler).mint},
}

// Keys are the public keys by which tokens of this service verify, by kid.
func (h *Handler) Keys() map[string]crypto.PublicKey {
	return map[string]crypto.PublicKey{h.kid: h.cfg.Key.Public()}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rq, err := azhttp.NewRequest(w, r)
	var reply azhttp.Reply
	if err == nil {
		if route, ok := h.routes.Find(rq); ok {
			reply, err = route.Handle(h, rq)
		} else {
			err = azhttp.NotFound("This test attestation service has /.well-known/openid-configuration, /certs and /generate-test-token.")
		}
	}
	if err != nil {
		rq.Fail(h.cfg.Log, err, "")
		return
	}
	rq.Send(reply)
}

func (h *Handler) base(rq *azhttp.Request) string { return h.cfg.Base(rq.Host) }

func (h *Handler) metadata(rq *azhttp.Request) (azhttp.Reply, error) {
	base := h.base(rq)
	return azhttp.OK(map[string]any{"issuer": base, "jwks_uri": base + "/certs", "claims_supported": []string{"iss", "exp", "nbf", "iat", "x-ms-runtime"},
		"response_types_supported": []string{"token"}, "id_token_signing_alg_values_supported": []string{"RS256"}})
}

func (h *Handler) certs(*azhttp.Request) (azhttp.Reply, error) {
	return azhttp.OK(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": h.kid, "x5c": []string{h.cert},
		"n": text(h.cfg.Key.N.Bytes()), "e": text(big.NewInt(int64(h.cfg.Key.E)).Bytes())}}})
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// standard is what the SDKs' tests ask for: claim sdk-test, and a recipient whose private key nobody has.
func (h *Handler) standard(rq *azhttp.Request) (azhttp.Reply, error) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return azhttp.Reply{}, err
	}
	return h.token(rq, tokenRequest{Claims: map[string]any{"sdk-test": true}, Key: recipient("fake-release-key", &k.PublicKey)})
}

// tokenRequest is the body of POST /generate-test-token. All of it may be left out.
type tokenRequest struct {
	Claims       map[string]any `json:"claims"`       // signed as they are, over the usual ones
	Key          map[string]any `json:"key"`          // JWK of the recipient
	PublicKeyPEM string         `json:"publicKeyPem"` // or the same as PEM (SubjectPublicKeyInfo)
	Lifetime     int64          `json:"lifetime"`     // seconds; 0: an hour
}

func (h *Handler) mint(rq *azhttp.Request) (azhttp.Reply, error) {
	body, err := rq.ReadBody()
	if err != nil {
		return azhttp.Reply{}, err
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	d.DisallowUnknownFields()
	var t tokenRequest
	if err := d.Decode(&t); err != nil {
		return azhttp.Reply{}, azhttp.Bad("The body is an object with claims, key or publicKeyPem, and lifetime: " + err.Error())
	}
	if t.PublicKeyPEM != "" {
		if t.Key != nil {
			return azhttp.Reply{}, azhttp.Bad("Give key or publicKeyPem, not both.")
		}
		pub, err := parsePEM(t.PublicKeyPEM)
		if err != nil {
			return azhttp.Reply{}, azhttp.Bad("publicKeyPem: " + err.Error())
		}
		t.Key = recipient("TpmEphemeralEncryptionKey", pub)
	}
	return h.token(rq, t)
}

func parsePEM(s string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(s))
	if block == nil {
		return nil, errors.New("not PEM")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a public key (SubjectPublicKeyInfo)")
	}
	pub, ok := k.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return pub, nil
}

// recipient is a public key as attestation services write it down.
func recipient(kid string, pub *rsa.PublicKey) map[string]any {
	return map[string]any{"kty": "RSA", "kid": kid, "use": "enc", "key_ops": []string{"encrypt"}, "n": text(pub.N.Bytes()), "e": text(big.NewInt(int64(pub.E)).Bytes())}
}

func (h *Handler) token(rq *azhttp.Request, t tokenRequest) (azhttp.Reply, error) {
	out, err := h.sign(h.base(rq), t)
	return azhttp.Reply{Body: map[string]string{"token": out}}, err
}

// Token makes a token of issuer for the environment that has the private key of to, nil for none, over the claims.
func (h *Handler) Token(issuer string, to *rsa.PublicKey, claims map[string]any) (string, error) {
	t := tokenRequest{Claims: claims}
	if to != nil {
		t.Key = recipient("TpmEphemeralEncryptionKey", to)
	}
	return h.sign(issuer, t)
}

// sign makes the token. A key without kid or key_ops gets those of the guest attestation of Azure's confidential machines.
func (h *Handler) sign(issuer string, t tokenRequest) (string, error) {
	now := h.cfg.Clock().Unix()
	if t.Lifetime == 0 {
		t.Lifetime = 3600
	}
	claims := map[string]any{"iss": issuer, "iat": now, "nbf": now, "exp": now + t.Lifetime, "jti": azhttp.NewGUID(), "x-ms-ver": "1.0"}
	if t.Key != nil {
		for name, v := range map[string]any{"kid": "TpmEphemeralEncryptionKey", "key_ops": []string{"encrypt"}} {
			if _, has := t.Key[name]; !has {
				t.Key[name] = v
			}
		}
		claims["x-ms-runtime"] = map[string]any{"keys": []any{t.Key}}
	}
	maps.Copy(claims, t.Claims)
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	jws, err := h.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}
