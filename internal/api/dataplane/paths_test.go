package dataplane_test

import (
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// none is the answer to what is no operation.
const none = "No operation of Managed HSM has this method and path."

// TestPaths: where empty segments, letter case and escapes lead, and where they do not.
func TestPaths(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	c.do("POST //KEYS/k/CREATE/", `{"kty":"EC"}`).Want(200)
	c.do("POST /keys/sign/create", `{"kty":"EC"}`).Want(200) // words of routes are names like others
	c.do("POST /keys/versions/create", `{"kty":"EC"}`).Want(200)
	sign := `{"alg":"ES256","value":"` + digest + `"}`
	for _, target := range []string{"GET /keys", "GET /keys/", "GET //keys//", "GET ///Keys", "GET /k%65ys", "GET /keys/k", "GET /keys/k/", "GET /keys/K//", "GET //keys/k", "GET /keys/%6b", "GET /keys/k/VERSIONS/",
		"GET /keys/versions", "GET /keys/versions/versions", "PATCH /keys/k/", "PATCH /keys/k"} {
		var body any
		if strings.HasPrefix(target, "PATCH") {
			body = "{}"
		}
		c.do(target, body).Want(200)
	}
	for _, target := range []string{"POST /keys/k//sign", "POST /keys/k/sign", "POST //keys/K//SIGN/", "POST /keys/k/Sign", "POST /keys/sign//sign", "POST /keys/sign/sign"} {
		c.do(target, sign).Want(200)
	}
	for target, word := range map[string]string{
		// No name.
		"POST /keys//create": "1 to 127", "GET /keys//versions": "1 to 127", "GET /keys//0123456789abcdef0123456789abcdef": "1 to 127", "POST /keys//sign": "1 to 127", "POST /keys///sign": "1 to 127",
		"DELETE /keys//k": "1 to 127", "PATCH //keys//k": "1 to 127", "GET /deletedkeys//k": "1 to 127", "POST /deletedkeys//recover": "1 to 127",
		// Names that cannot be: an escaped slash never makes two segments of one.
		"POST /keys/a%2Fb/create": "letters, digits and hyphens", "GET /keys/k%2Fversions": "letters, digits and hyphens", "GET /keys/k%2f": "letters, digits and hyphens", "DELETE /keys/..": "letters, digits and hyphens",
		"GET /keys/%2e%2e": "letters, digits and hyphens", "GET /keys/.": "letters, digits and hyphens", "GET /keys/k%00": "letters, digits and hyphens", "POST /keys/k%2F/sign": "letters, digits and hyphens",
		"GET /keys/k%20": "letters, digits and hyphens", "GET /keys/k;x": "letters, digits and hyphens", "GET /keys/a_b": "letters, digits and hyphens", "GET /keys/%C3%A9": "letters, digits and hyphens",
		"GET /keys/" + strings.Repeat("n", 128): "1 to 127", "POST /keys/" + strings.Repeat("n", 4000) + "/create": "1 to 127",
		"GET /keys/k/%2F": "32 hexadecimal digits", "GET /keys/k/../k": none, "GET /keys/k/x": "32 hexadecimal digits", "POST /keys/k/x/sign": "32 hexadecimal digits", "GET /keys/k/0123456789abcdef0123456789abcdeg": "32 hexadecimal digits",
	} {
		var body any
		if strings.HasPrefix(target, "P") {
			body = sign
		}
		a := c.do(target, body)
		if a.Status == 404 {
			a.WantError(404, "NotFound", "", word)
		} else {
			a.WantError(400, "BadParameter", "", word)
		}
	}
	for _, target := range []string{"GET /keys%2Fk", "POST /keys/k%2Fsign", "POST /keys/k%2F%2Fsign", "GET /%2Fkeys", "GET /key", "GET /keyss", "GET /", "GET //", "GET /keys/k/versions/more", "POST /keys/k//sign/more",
		// The method of another operation: paths without an operation are 404, whatever the method.
		"POST /keys", "DELETE /keys", "PUT /rng", "GET /rng", "DELETE /keys/k//sign", "PUT /keys/k/sign", "DELETE /keys/k/versions", "GET /deletedkeys/k/recover", "PUT /deletedkeys/k", "PATCH /backup", "HEADS /keys"} {
		c.do(target, nil).WantError(404, "NotFound", "", none)
	}
	longest := strings.Repeat("n", 127)
	c.do("POST /keys/"+longest+"/create", `{"kty":"EC"}`).Want(200)
	c.do("GET /keys/"+longest, nil).Want(200)
}

// TestMethodOverride: a POST may carry the verb that is meant; what it says stands for the method in everything.
func TestMethodOverride(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	ask := func(method, path, verb string, body any) hsmtest.Answer {
		return w.Do(hsmtest.Ask{Method: method, Host: host, Path: path + "?" + version, Token: s.Token(hsmtest.User, hsmtest.Devices), Body: body, Header: http.Header{"X-Http-Method": {verb}}})
	}
	ask("POST", "/keys/k/create", "", `{"kty":"EC"}`).Want(200)
	ask("POST", "/keys/k/create", "POST", `{"kty":"EC"}`).Want(200)
	ask("POST", "/keys", "GET", nil).Want(200)
	ask("POST", definitions, "get", nil).Want(200)
	ask("POST", "/keys/k", "Patch", `{"tags":{"a":"b"}}`).Want(200)
	ask("POST", "/keys/k/create", "GET", `{"kty":"EC"}`).WantError(400, "BadParameter", "", "version")
	ask("POST", "/keys/k", "MERGE", `{}`).WantError(404, "NotFound", "")
	ask("GET", "/keys/k", "DELETE", nil).Want(200) // only a POST carries another verb
	ask("GET", "/keys/k", "", nil).Want(200)
	ask("POST", "/keys/k", "DELETE", nil).Want(200)
	ask("GET", "/keys/k", "", nil).WantError(404, "KeyNotFound", "")
}
