package dataplane_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// badInput is a request that is refused with 400 BadParameter, and what its message must say.
type badInput struct{ target, body, inner, says string }

// objectOf writes a JSON object of n members.
func objectOf(n int, member func(i int) (name, value string)) string {
	m := map[string]string{}
	for i := range n {
		k, v := member(i)
		m[k] = v
	}
	return quoted(m)
}

func number(i int) (string, string) { return fmt.Sprint("tag", i), "v" }

// badAttributes are refused by creation, import and update alike.
func badAttributes() map[string]string {
	out := map[string]string{
		`"attributes":{"nbf":-1}`: "negative", `"attributes":{"exp":-9223372036854775808}`: "negative", `"attributes":{"nbf":200,"exp":100}`: "exp must be after nbf", `"attributes":{"nbf":100,"exp":100}`: "exp must be after nbf",
		`"attributes":{"exp":253402300800}`: "9999", `"attributes":{"nbf":9223372036854775807}`: "9999", `"attributes":{"exp":9223372036854775808}`: `"attributes.exp"`, `"attributes":{"exp":1767323045.5}`: `"attributes.exp" must be an integer`,
		`"attributes":{"exp":"2026-01-02T03:04:05Z"}`: `"attributes.exp" cannot be a JSON string`, `"attributes":{"enabled":"yes"}`: `"attributes.enabled" cannot be a JSON string`, `"attributes":true`: `"attributes" cannot be`,
		`"key_ops":["fly"]`: "fly", `"key_ops":[""]`: "", `"key_ops":[null]`: `"key_ops[0]" cannot be a JSON null`, `"key_ops":"sign"`: `"key_ops" cannot be a JSON string`, `"key_ops":["encrypt"]`: "encrypt",
		`"tags":{"a":1}`: `"tags.a" cannot be a JSON number`, `"tags":{"a":null}`: `"tags.a" cannot be a JSON null`, `"tags":{"a":{}}`: `"tags.a" cannot be a JSON object`, `"tags":["a"]`: `"tags" cannot be a JSON array`,
		`"tags":{"a":"1","a":"2"}`: `"tags.a" occurs twice`,
	}
	out[`"tags":`+objectOf(16, number)] = "at most 15"
	out[`"tags":{"`+strings.Repeat("n", 257)+`":""}`] = "256"
	out[`"tags":{"n":"`+strings.Repeat("é", 257)+`"}`] = "256"
	return out
}

// badCreations are refused before there is a key.
func badCreations() (out []badInput) {
	const noType = "KeyTypeNotSupported"
	create := func(body, inner, says string) {
		out = append(out, badInput{"POST /keys/new/create", body, inner, says})
	}
	for _, kty := range []string{``, `"kty":null`, `"kty":""`, `"kty":"PQC"`, `"kty":"rsa"`, `"kty":"RSA "`, `"kty":"OCT"`, `"KTY":"EC"`, `"kty":"AKP-HSM"`} {
		create("{"+kty+"}", noType, "kty")
	}
	for body, says := range map[string]string{
		`"kty":"EC","crv":"P-192"`: "P-256", `"kty":"EC","crv":"p-256"`: "P-256", `"kty":"EC","crv":"secp256r1"`: "P-256", `"kty":"EC","key_size":2048`: "P-256",
		`"kty":"RSA","key_size":-1`: "2048", `"kty":"RSA","key_size":1024`: "2048", `"kty":"RSA","key_size":2049`: "2048", `"kty":"RSA","key_size":16384`: "2048", `"kty":"RSA","key_size":9223372036854775807`: "2048",
		`"kty":"RSA","key_size":9223372036854775808`: `"key_size"`, `"kty":"RSA","key_size":2048.5`: `"key_size" must be an integer`, `"kty":"RSA","key_size":"2048"`: `"key_size" cannot be a JSON string`,
		`"kty":"RSA","public_exponent":1`: "exponent", `"kty":"RSA","public_exponent":2`: "exponent", `"kty":"RSA","public_exponent":65536`: "exponent", `"kty":"RSA","public_exponent":-3`: "exponent", `"kty":"RSA","public_exponent":9223372036854775807`: "exponent",
		`"kty":"oct","key_size":64`: "128", `"kty":"oct","key_size":129`: "128", `"kty":"oct","key_size":512`: "128", `"kty":"oct","key_size":-128`: "128",
		`"kty":"EC","attributes":{"exportable":true}`: "Exportable keys must have release policy",
	} {
		create("{"+body+"}", "", says)
	}
	for body, says := range badAttributes() {
		create(`{"kty":"EC",`+body+"}", "", says)
	}
	return out
}

// badUses are refused by the operations with a key.
func badUses() (out []badInput) {
	zeros := func(n int) string { return b64(make([]byte, n)) }
	add := func(target, body, says string) { out = append(out, badInput{"POST " + target, body, "", says}) }
	for _, alg := range []string{``, `"alg":null,`, `"alg":"",`, `"alg":"none",`, `"alg":"RS257",`, `"alg":"rs256",`, `"alg":"ES384",`, `"alg":"A256KW",`, `"alg":"HS256",`} {
		for key, allowed := range map[string]string{"rsa": "RS256", "ec": "ES256"} {
			add("/keys/"+key+"//sign", `{`+alg+`"value":"`+zeros(32)+`"}`, allowed)
			add("/keys/"+key+"//verify", `{`+alg+`"digest":"`+zeros(32)+`","value":"`+zeros(64)+`"}`, allowed)
		}
		if !strings.Contains(alg, "KW") {
			add("/keys/oct//wrapkey", `{`+alg+`"value":"`+zeros(32)+`"}`, "A256KW")
			add("/keys/oct//unwrapkey", `{`+alg+`"value":"`+zeros(40)+`"}`, "A256KW")
			add("/keys/rsa//wrapkey", `{`+alg+`"value":"`+zeros(32)+`"}`, "RSA-OAEP")
		}
		add("/keys/oct//encrypt", `{`+alg+`"value":"`+zeros(32)+`"}`, "A256GCM")
		add("/keys/oct//decrypt", `{`+alg+`"value":"`+zeros(32)+`"}`, "A256GCM")
		add("/keys/rsa//decrypt", `{`+alg+`"value":"`+zeros(256)+`"}`, "RSA-OAEP")
	}
	for _, alg := range []string{"A128GCM", "A128KW", "A192CBC"} {
		add("/keys/oct//encrypt", `{"alg":"`+alg+`","value":"`+zeros(32)+`","iv":"`+zeros(16)+`"}`, "")
		add("/keys/oct//wrapkey", `{"alg":"`+alg+`","value":"`+zeros(32)+`"}`, "")
	}
	for alg, n := range map[string]int{"RS256": 32, "PS384": 48, "RS512": 64} {
		for _, bad := range []int{0, 1, 20, n - 1, n + 1, 128} {
			add("/keys/rsa//sign", fmt.Sprintf(`{"alg":%q,"value":%q}`, alg, zeros(bad)), fmt.Sprint(n))
			add("/keys/rsa//verify", fmt.Sprintf(`{"alg":%q,"digest":%q,"value":%q}`, alg, zeros(bad), zeros(256)), fmt.Sprint(n))
		}
	}
	for _, bad := range []int{0, 31, 33, 64} {
		add("/keys/ec//sign", fmt.Sprintf(`{"alg":"ES256","value":%q}`, zeros(bad)), "32")
	}
	add("/keys/rsa//sign", `{"alg":"RS256"}`, "32")
	for _, bad := range []int{0, 1, 11, 13, 16} {
		add("/keys/oct//decrypt", fmt.Sprintf(`{"alg":"A256GCM","value":%q,"iv":%q,"tag":%q}`, zeros(16), zeros(bad), zeros(16)), "12")
		add("/keys/oct//decrypt", fmt.Sprintf(`{"alg":"A256GCM","value":%q,"iv":%q,"tag":%q}`, zeros(16), zeros(12), zeros(bad)), "")
	}
	for _, bad := range []int{0, 12, 15, 17} {
		add("/keys/oct//encrypt", fmt.Sprintf(`{"alg":"A256CBC","value":%q,"iv":%q}`, zeros(16), zeros(bad)), "16")
		add("/keys/oct//decrypt", fmt.Sprintf(`{"alg":"A256CBCPAD","value":%q,"iv":%q}`, zeros(16), zeros(bad)), "16")
	}
	for _, bad := range []int{1, 15, 17} {
		add("/keys/oct//encrypt", fmt.Sprintf(`{"alg":"A256CBC","value":%q,"iv":%q}`, zeros(bad), zeros(16)), "16")
		add("/keys/oct//decrypt", fmt.Sprintf(`{"alg":"A256CBC","value":%q,"iv":%q}`, zeros(bad), zeros(16)), "")
	}
	for _, bad := range []int{0, 1, 8, 15, 23, 25, 39, 41, 40} {
		add("/keys/oct//unwrapkey", fmt.Sprintf(`{"alg":"A256KW","value":%q}`, zeros(bad)), "")
	}
	for _, bad := range []int{0, 1, 8, 15, 17} {
		add("/keys/oct//wrapkey", fmt.Sprintf(`{"alg":"A256KW","value":%q}`, zeros(bad)), "")
	}
	for _, bad := range []int{0, 1, 255, 256, 257, 512} {
		add("/keys/rsa//unwrapkey", fmt.Sprintf(`{"alg":"RSA-OAEP-256","value":%q}`, zeros(bad)), "")
		add("/keys/rsa//decrypt", fmt.Sprintf(`{"alg":"RSA-OAEP","value":%q}`, zeros(bad)), "")
	}
	add("/keys/rsa//encrypt", fmt.Sprintf(`{"alg":"RSA-OAEP-256","value":%q}`, zeros(191)), "190")
	for _, count := range []string{"0", "-1", "129", "9223372036854775808", "1.5", `"16"`, "null", "[16]"} {
		add("/rng", `{"count":`+count+`}`, "")
	}
	add("/rng", "{}", "128")
	return out
}

// badQueries are refused by the lists.
func badQueries() (out []badInput) {
	for _, list := range []string{"GET /keys?", "GET /deletedkeys?", "GET /keys/ec/versions?"} {
		for _, n := range []string{"0", "-1", "26", "1e1", "x", "%00", "99999999999999999999", "1.0", "+5", "0x5", "5%205"} {
			out = append(out, badInput{list + "maxresults=" + n, "", "", "maxresults is 1 to 25"})
		}
		for _, token := range []string{"!", "%00", "====", "AB", "a+b", b64([]byte("a/b")), b64([]byte{0}), b64([]byte("\xff")), b64(make([]byte, 4000))} {
			out = append(out, badInput{list + "$skiptoken=" + token, "", "", "token"})
		}
	}
	return out
}

// TestBadInput: what no operation can be done with. Each is refused with its reason, and nothing is stored.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	user, officer := as(w, hsmtest.User), as(w, hsmtest.Officer)
	user.do("POST /keys/rsa/create", `{"kty":"RSA"}`).Want(200)
	user.do("POST /keys/ec/create", `{"kty":"EC"}`).Want(200)
	user.do("POST /keys/oct/create", `{"kty":"oct","key_size":256,"key_ops":["encrypt","decrypt","wrapKey","unwrapKey"]}`).Want(200)
	all := append(append(badCreations(), badUses()...), badQueries()...)
	for body, says := range badAttributes() {
		all = append(all, badInput{"PATCH /keys/ec", "{" + body + "}", "", says})
	}
	for _, name := range []string{strings.Repeat("n", 128), "a%2Fb", "a_b", "a.b", "%C3%A9", "a%00", "+", "a%20"} {
		for _, op := range []string{"POST /keys/%s/create", "GET /keys/%s", "PATCH /keys/%s", "DELETE /keys/%s", "GET /keys/%s/versions", "POST /keys/%s//sign", "POST /keys/%s/decrypt", "GET /deletedkeys/%s", "DELETE /deletedkeys/%s", "POST /deletedkeys/%s/recover"} {
			all = append(all, badInput{fmt.Sprintf(op, name), `{"kty":"EC","alg":"ES256","value":"` + digest + `"}`, "", "key name"})
		}
	}
	before := s.State()
	for _, in := range all {
		c := user
		if strings.Contains(in.target, "/deletedkeys") {
			c = officer
		}
		var body any
		if in.body != "" {
			body = in.body
		}
		a := c.do(in.target, body)
		var e struct{ Error hsmtest.Error }
		if err := json.Unmarshal(a.Body, &e); err != nil || a.Status != 400 || e.Error.Code != "BadParameter" || inner(e.Error) != in.inner || !strings.Contains(e.Error.Message, in.says) {
			t.Errorf("%.80s %.200s: %d %.400s; want inner code %q and %q", in.target, in.body, a.Status, a.Body, in.inner, in.says)
		}
		if bytes.Contains(a.Body, []byte("panic")) || bytes.Contains(a.Body, []byte("strconv")) || bytes.Contains(a.Body, []byte("Go ")) {
			t.Errorf("%.80s: the answer speaks of the program's inside: %s", in.target, a.Body)
		}
	}
	if !maps.Equal(before, s.State()) {
		t.Error("bad input changed what is stored")
	}
	// The largest that is allowed is.
	user.do("POST /keys/ec2/create", `{"kty":"EC","attributes":{"nbf":1,"exp":253402300799},"tags":`+objectOf(15, func(i int) (string, string) {
		return fmt.Sprint(i) + strings.Repeat("é", 254), strings.Repeat("v", 256)
	})+`}`).Want(200)
}

func inner(e hsmtest.Error) string {
	if e.Inner == nil {
		return ""
	}
	return e.Inner.Code
}
