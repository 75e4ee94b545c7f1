package dataplane_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// mutant is a body that must be refused.
type mutant struct{ name, body string }

// node is a place in a JSON document: put returns the document with another text there.
type node struct {
	path string
	v    any
	put  func(text string) string
}

// nodes walks a document. In the text, members stand in the order of their names.
func nodes(path string, v any, put func(string) string) []node {
	out := []node{{path, v, put}}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, nodes(strings.TrimPrefix(path+"."+name, "."), v[name], func(text string) string {
				var members []string
				for _, n := range slices.Sorted(maps.Keys(v)) {
					if n == name {
						members = append(members, quoted(n)+":"+text)
					} else {
						members = append(members, quoted(n)+":"+quoted(v[n]))
					}
				}
				return put("{" + strings.Join(members, ",") + "}")
			})...)
		}
	case []any:
		for i := range v {
			out = append(out, nodes(path+"[]", v[i], func(text string) string {
				var elements []string
				for k := range v {
					if k == i {
						elements = append(elements, text)
					} else {
						elements = append(elements, quoted(v[k]))
					}
				}
				return put("[" + strings.Join(elements, ",") + "]")
			})...)
		}
	}
	return out
}

func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// broken are bodies that are no JSON, or not one object.
func broken(body string) []mutant {
	open := strings.TrimRight(strings.TrimSpace(body), "}")
	out := []mutant{{"half", body[:len(body)/2]}, {"an array of it", "[" + body + "]"}, {"two of it", body + body}, {"something behind", body + "x"}, {"a NUL behind", body + "\x00"}, {"a NUL before", "\x00" + body},
		{"a byte order mark", "\ufeff" + body}, {"not UTF-8", strings.Replace(body, `"`, "\"\xff", 1)}, {"a string", `"text"`}, {"a number", "3"}, {"null", "null"}, {"true", "true"}, {"an array", "[]"}, {"blank", " \n"},
		{"single quotes", strings.ReplaceAll(body, `"`, "'")}, {"a comma too many", strings.TrimSuffix(body, "}") + ",}"}, {"half a surrogate pair", strings.TrimSuffix(body, "}") + `,"z":"\ud800"}`},
		{"deep nesting", strings.TrimSuffix(body, "}") + `,"z":` + strings.Repeat("[", 100_000)}, {"33 levels", strings.TrimSuffix(body, "}") + `,"z":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + "}"},
		{"an unknown member twice", strings.TrimSuffix(body, "}") + `,"z":1,"z":1}`}, {"twice, deep inside an unknown member", strings.TrimSuffix(body, "}") + `,"z":[{"y":{"x":1,"x":1}}]}`}}
	if open != body {
		out = append(out, mutant{"not closed", open})
	}
	return out
}

// others are values of every other type than v's, and numbers that are no integers.
func others(v any) []string {
	out := []string{}
	for kind, text := range map[string]string{"string": `"x"`, "float64": "3", "bool": "true", "map": "{}", "[]": "[]"} {
		if !strings.HasPrefix(fmt.Sprintf("%T", v), kind) {
			out = append(out, text)
		}
	}
	if _, ok := v.(float64); ok {
		out = append(out, "1.5", "1e3", "1.0", "9223372036854775808", "-9223372036854775809", "1e400", `"3"`)
	}
	return out
}

// byteMembers are those that hold byte strings, in the bodies of operations with keys.
var byteMembers = []string{"value", "digest", "iv", "aad", "tag", "n", "e", "d", "p", "q", "dp", "dq", "qi", "k", "x", "y", "key_hsm", "data", "nonce"}

// unread are members of golden bodies that no handler looks at.
var unread = []string{"certificates[].key_ops", "id", "attributes.created", "attributes.updated"}

// mutants makes bad bodies of a good one; bytes says that byteMembers hold what they are named for.
func mutants(t *testing.T, body string, bytes bool) []mutant {
	t.Helper()
	var doc any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	out := broken(body)
	for _, n := range nodes("", doc, func(s string) string { return s }) {
		if n.path == "" {
			continue
		}
		if m, ok := n.v.(map[string]any); ok && len(m) > 0 {
			first := slices.Sorted(maps.Keys(m))[0]
			out = append(out, mutant{n.path + "." + first + " twice", n.put("{" + quoted(first) + ":" + quoted(m[first]) + "," + quoted(m)[1:])})
		}
		if slices.Contains(unread, strings.TrimSuffix(n.path, "[]")) {
			continue
		}
		for _, text := range others(n.v) {
			out = append(out, mutant{n.path + " is " + text, n.put(text)})
		}
		if strings.HasSuffix(n.path, "[]") {
			out = append(out, mutant{n.path + " is null", n.put("null")})
		}
		text, isText := n.v.(string)
		if name := n.path[strings.LastIndex(n.path, ".")+1:]; bytes && isText && slices.Contains(byteMembers, name) {
			for _, bad := range []string{text + "=", text + "==", "+" + text[1:], text[1:] + "/", text + "\n", "\r" + text, " " + text, text + "!", text + "AAAAA"[:5-len(text)%4], "é" + text} {
				out = append(out, mutant{n.path + " is " + quoted(bad), n.put(quoted(bad))})
			}
		}
	}
	if m, ok := doc.(map[string]any); ok {
		for name := range m {
			escaped := fmt.Sprintf(`"\u%04x%s"`, name[0], name[1:])
			out = append(out, mutant{name + " twice", "{" + quoted(name) + ":" + quoted(m[name]) + "," + body[1:]}, mutant{name + " twice, once escaped", "{" + escaped + ":" + quoted(m[name]) + "," + body[1:]},
				mutant{name + " twice, once null", "{" + quoted(name) + ":null," + body[1:]})
		}
	}
	return out
}

// refused sends the mutants of a body and wants all of them refused and nothing stored.
func (c client) refused(target string, all []mutant, inner ...string) {
	c.T.Helper()
	before := c.State()
	for _, m := range all {
		a := c.do(target, m.body)
		var e struct{ Error hsmtest.Error }
		if json.Unmarshal(a.Body, &e) != nil || a.Status != http.StatusBadRequest || e.Error.Code != "BadParameter" || !strings.HasSuffix(e.Error.Message, " (Activity ID: "+a.Header.Get("X-Ms-Request-Id")+")") {
			c.T.Errorf("%s, %s: %d %.300s", target, m.name, a.Status, a.Body)
		}
		if e.Error.Inner != nil && !slices.Contains(inner, e.Error.Inner.Code) {
			c.T.Errorf("%s, %s: inner code %s", target, m.name, e.Error.Inner.Code)
		}
		if len(a.Body) > 4<<10 {
			c.T.Errorf("%s, %s: an answer of %d bytes", target, m.name, len(a.Body))
		}
	}
	if after := c.State(); !maps.Equal(before, after) {
		c.T.Errorf("%s: bad bodies changed what is stored", target)
	}
}

// TestBadBodies goes the way of the golden answers, and in front of every step with a body tries what can be made
// of it that is no body.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	w := s.Serve()
	for _, st := range goldenSteps(string(hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2))) {
		c := as(w, st.who)
		if st.body == "" {
			c.do(st.target, nil).Want(st.status)
			continue
		}
		keys := !strings.Contains(st.target, "/securitydomain/") && !strings.Contains(st.target, "/settings/")
		c.refused(st.target, mutants(t, st.body, keys), "SecurityDomainRefused", "KeyTypeNotSupported")
		if !strings.Contains(st.target, "/keys/restore") {
			c.do(st.target, `{"z":"`+strings.Repeat("z", 1<<20)+`"}`).WantError(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "")
		}
		if a := c.do(st.target, st.body); a.Status != st.status {
			t.Fatalf("%s: %d %s", st.target, a.Status, a.Body)
		}
	}
}

// TestBadJobBodies is that for the operations that the golden steps leave to other tests.
func TestBadJobBodies(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	admin, user := as(w, hsmtest.Admin), as(w, hsmtest.User)
	user.do("POST /keys/k/create", `{"kty":"oct-HSM","key_size":256}`).Want(200)
	identity := `{"storageResourceUri":"` + storage + `","useManagedIdentity":true}`
	for _, body := range []string{sas, identity} {
		admin.refused("POST /backup", mutants(t, body, false))
		admin.refused("PUT /restore", mutants(t, `{"sasTokenParameters":`+body+`,"folderToRestore":"mhsm-k-2026010203040500"}`, false))
		admin.refused("PUT /keys/k/restore", mutants(t, `{"sasTokenParameters":`+body+`,"folder":"mhsm-k-2026010203040500"}`, false))
	}
	admin.refused("POST /securitydomain/upload", mutants(t, `{"value":"{}"}`, false), "SecurityDomainRefused")
	var wrapped, backup struct{ Value string }
	user.do("POST /keys/k//wrapkey", `{"alg":"A256KW","value":"`+digest+`"}`).Want(200).JSON(&wrapped)
	user.refused("POST /keys/k//unwrapkey", mutants(t, `{"alg":"A256KW","value":"`+wrapped.Value+`"}`, true))
	user.do("POST /keys/k/backup", nil).Want(200).JSON(&backup)
	user.refused("POST /keys/restore", mutants(t, `{"value":"`+backup.Value+`"}`, true))
}
