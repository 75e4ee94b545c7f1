package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/key"
)

// What the service was recorded to store for what clients sent, and what the grammar's own page shows.
func TestNormalForm(t *testing.T) {
	t.Parallel()
	for sent, stored := range map[string]string{
		`{"anyOf":[{"anyOf":[{"claim":"sdk-test","condition":"equals","value":"true"}],"authority":"https://skr.example/"}],"version":"1.0"}`:                                               `{"anyOf":[{"anyOf":[{"claim":"sdk-test","equals":"true"}],"authority":"https://skr.example/"}],"version":"1.0.0"}`,
		` { "version" : "1.0.0", "anyOf": [ {"authority":"https://a.example","allOf":[{"equals":true,"claim":"x.y"}]} ] } `:                                                                 `{"anyOf":[{"allOf":[{"claim":"x.y","equals":true}],"authority":"https://a.example"}],"version":"1.0.0"}`,
		`{"version":"1.0.0","anyOf":[{"authority":"https://a.example","allOf":[{"claim":"n","greater":1.50},{"anyOf":[{"claim":"e","exists":"false"},{"claim":"<&>","notEquals":"ä"}]}]}]}`: `{"anyOf":[{"allOf":[{"claim":"n","greater":1.50},{"anyOf":[{"claim":"e","exists":"false"},{"claim":"<&>","notEquals":"ä"}]}],"authority":"https://a.example"}],"version":"1.0.0"}`,
	} {
		p, err := Normalise(key.ReleasePolicy{Data: []byte(sent), Immutable: true})
		if err != nil || string(p.Data) != stored || p.ContentType != DefaultContentType || !p.Immutable {
			t.Errorf("%s\nbecame %s %+v, %v\nwant   %s", sent, p.Data, p, err, stored)
		}
		again, err := Normalise(p)
		if err != nil || string(again.Data) != string(p.Data) {
			t.Errorf("not stable: %s, %v", again.Data, err)
		}
	}
}

func cond(inner string) string {
	return `{"version":"1.0.0","anyOf":[{"authority":"https://a.example","allOf":[` + inner + `]}]}`
}

func nest(n int) string {
	return strings.Repeat(`{"anyOf":[`, n) + `{"claim":"c","equals":1}` + strings.Repeat(`]}`, n)
}

func TestRefusedPolicies(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ policy, says string }{
		"nothing":             {``, "data"},
		"not JSON":            {`version`, "not JSON"},
		"cut":                 {`{"version":"1.0.0","anyOf":[`, "not JSON"},
		"a list":              {`[]`, "not a JSON object"},
		"more behind":         {cond(`{"claim":"c","equals":1}`) + `{}`, "follows"},
		"not UTF-8":           {cond(`{"claim":"c","equals":"` + "\xff" + `"}`), "UTF-8"},
		"no version":          {`{"anyOf":[{"authority":"https://a.example","allOf":[{"claim":"c","equals":1}]}]}`, "missing 'version'"},
		"version 2":           {`{"version":"2.0.0","anyOf":[]}`, "version"},
		"version 1, a number": {`{"version":1.0,"anyOf":[]}`, "version"},
		"no authorities":      {`{"version":"1.0.0","anyOf":[]}`, "anyOf"},
		"outer allOf":         {`{"version":"1.0.0","allOf":[{}]}`, "allOf"},
		"a name twice":        {`{"version":"1.0.0","version":"1.0.0","anyOf":[]}`, "twice"},
		"a deep name twice":   {cond(`{"claim":"c","equals":1,"claim":"d"}`), "twice"},
		"no authority":        {`{"version":"1.0.0","anyOf":[{"allOf":[{"claim":"c","equals":1}]}]}`, "authority"},
		"http":                {`{"version":"1.0.0","anyOf":[{"authority":"http://a.example","allOf":[{"claim":"c","equals":1}]}]}`, "https"},
		"no scheme":           {`{"version":"1.0.0","anyOf":[{"authority":"a.example","allOf":[{"claim":"c","equals":1}]}]}`, "https"},
		"user":                {`{"version":"1.0.0","anyOf":[{"authority":"https://u@a.example","allOf":[{"claim":"c","equals":1}]}]}`, "https"},
		"query":               {`{"version":"1.0.0","anyOf":[{"authority":"https://a.example/?x","allOf":[{"claim":"c","equals":1}]}]}`, "https"},
		"fragment":            {`{"version":"1.0.0","anyOf":[{"authority":"https://a.example/#","allOf":[{"claim":"c","equals":1}]}]}`, "https"},
		"authority alone":     {`{"version":"1.0.0","anyOf":[{"authority":"https://a.example"}]}`, "claim"},
		"authority and claim": {`{"version":"1.0.0","anyOf":[{"authority":"https://a.example","claim":"c","equals":1}]}`, "claim"},
		"both":                {`{"version":"1.0.0","anyOf":[{"authority":"https://a.example","allOf":[{"claim":"c","equals":1}],"anyOf":[{"claim":"c","equals":1}]}]}`, "one condition"},
		"empty list":          {cond(``), "at least one"},
		"null list":           {`{"version":"1.0.0","anyOf":[{"authority":"https://a.example","allOf":null}]}`, "at least one"},
		"no claim":            {cond(`{"equals":1}`), "claim"},
		"empty claim":         {cond(`{"claim":"","equals":1}`), "claim"},
		"claim of dots":       {cond(`{"claim":"a..b","equals":1}`), "claim"},
		"long claim":          {cond(`{"claim":"` + strings.Repeat("c", 257) + `","equals":1}`), "claim"},
		"no operator":         {cond(`{"claim":"c"}`), "operator"},
		"two operators":       {cond(`{"claim":"c","equals":1,"less":2}`), "operator"},
		"unknown operator":    {cond(`{"claim":"c","like":"x"}`), "like"},
		"EQUALS":              {cond(`{"claim":"c","EQUALS":"x"}`), "EQUALS"},
		"value without":       {cond(`{"claim":"c","value":"x"}`), "operator"},
		"condition only":      {cond(`{"claim":"c","condition":"equals"}`), "operator"},
		"unknown condition":   {cond(`{"claim":"c","condition":"like","value":"x"}`), "like"},
		"condition and more":  {cond(`{"claim":"c","condition":"equals","value":"x","less":1}`), "operator"},
		"null value":          {cond(`{"claim":"c","equals":null}`), "takes"},
		"object value":        {cond(`{"claim":"c","equals":{}}`), "takes"},
		"list value":          {cond(`{"claim":"c","equals":[1]}`), "takes"},
		"long value":          {cond(`{"claim":"c","equals":"` + strings.Repeat("v", 1025) + `"}`), "takes"},
		"exponent":            {cond(`{"claim":"c","equals":1e3}`), "takes"},
		"huge number":         {cond(`{"claim":"c","equals":` + strings.Repeat("9", 31) + `}`), "takes"},
		"less than a string":  {cond(`{"claim":"c","less":"x"}`), "takes"},
		"exists maybe":        {cond(`{"claim":"c","exists":"maybe"}`), "takes"},
		"condition a string":  {cond(`"c"`), "not a JSON object"},
		"too deep":            {cond(nest(8)), "deep"},
		"far too deep":        {cond(nest(5000)), ""},
		"129 conditions":      {cond(strings.Repeat(`{"claim":"c","equals":1},`, 128) + `{"claim":"c","equals":1}`), "more than 128"},
		"too large":           {cond(`{"claim":"c","equals":1}`) + strings.Repeat(" ", MaxPolicy), "at most"},
	} {
		_, err := Parse([]byte(c.policy))
		if !errors.Is(err, key.ErrBadParameter) || !strings.HasPrefix(err.Error(), "Key Release Policy: ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; should mention %q", what, err, c.says)
		}
	}
	for what, good := range map[string]string{
		"deep":           cond(nest(6)),
		"128 conditions": cond(strings.Repeat(`{"claim":"c","equals":1},`, 127) + `{"claim":"c","equals":1}`),
	} {
		if _, err := Parse([]byte(good)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, ct := range []string{"text/plain", "application/json; charset=latin1", "application/json;;", strings.Repeat("x", 200)} {
		if _, err := Normalise(key.ReleasePolicy{ContentType: ct, Data: []byte(cond(nest(0)))}); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("content type %q: %v", ct, err)
		}
	}
	if p, err := Normalise(key.ReleasePolicy{ContentType: "application/json; charset=utf-8; version=1.0", Data: []byte(cond(nest(0)))}); err != nil || !strings.HasSuffix(p.ContentType, "version=1.0") {
		t.Errorf("the specification's example of a content type: %+v, %v", p, err)
	}
}

const someClaims = `{"iss":"https://a.example","t":true,"ts":"true","f":false,"s":"text","n":5,"dec":1.50,"big":123456789012345678901234567890,"exp10":1e3,"nul":null,
	"list":["text"],"o":{"deep":{"s":"x"}},"a.b":"dotted"}`

func TestConditions(t *testing.T) {
	t.Parallel()
	a, err := ParseClaims([]byte(someClaims))
	if err != nil {
		t.Fatal(err)
	}
	for c, want := range map[string]bool{
		`"claim":"t","equals":true`: true, `"claim":"t","equals":"true"`: true, `"claim":"t","equals":false`: false, `"claim":"t","equals":"false"`: false, `"claim":"t","equals":"True"`: false,
		`"claim":"ts","equals":true`: true, `"claim":"ts","equals":"true"`: true, `"claim":"f","equals":"false"`: true, `"claim":"f","equals":true`: false,
		`"claim":"s","equals":"text"`: true, `"claim":"s","equals":"Text"`: false, `"claim":"s","equals":true`: false, `"claim":"s","equals":5`: false,
		`"claim":"n","equals":5`: true, `"claim":"n","equals":5.0`: true, `"claim":"n","equals":"5"`: false, `"claim":"n","equals":6`: false,
		`"claim":"dec","equals":1.5`: true, `"claim":"big","equals":123456789012345678901234567890`: true, `"claim":"big","equals":123456789012345678901234567891`: false,
		`"claim":"exp10","equals":1000`: false, `"claim":"exp10","notEquals":1000`: true,
		`"claim":"nul","equals":"null"`: false, `"claim":"nul","exists":true`: false, `"claim":"nul","exists":false`: true,
		`"claim":"list","equals":"text"`: false, `"claim":"list","notEquals":"text"`: false, `"claim":"list","exists":"true"`: true, `"claim":"list.0","exists":true`: false,
		`"claim":"o.deep.s","equals":"x"`: true, `"claim":"o.deep","equals":"x"`: false, `"claim":"o.deep.s.x","exists":true`: false, `"claim":"a.b","equals":"dotted"`: false,
		`"claim":"none","equals":"x"`: false, `"claim":"none","notEquals":"x"`: false, `"claim":"none","exists":false`: true,
		`"claim":"s","notEquals":"x"`: true, `"claim":"s","notEquals":"text"`: false,
		`"claim":"n","less":6`: true, `"claim":"n","less":5`: false, `"claim":"n","lessOrEquals":5`: true, `"claim":"n","lessOrEquals":4`: false,
		`"claim":"n","greater":4`: true, `"claim":"n","greater":5`: false, `"claim":"n","greaterOrEquals":5`: true, `"claim":"n","greaterOrEquals":5.1`: false,
		`"claim":"s","less":6`: false, `"claim":"none","greater":-1`: false,
	} {
		p, err := Parse([]byte(cond("{" + c + "}")))
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		if err := p.Check(a); (err == nil) != want || err != nil && !errors.Is(err, ErrNotMet) {
			t.Errorf("%s: %v, want met: %v", c, err, want)
		}
	}
}

// Anybody of any, everybody of all, nested; and a refusal names a claim and no value.
func TestCheck(t *testing.T) {
	t.Parallel()
	a, err := ParseClaims([]byte(someClaims))
	if err != nil {
		t.Fatal(err)
	}
	yes, no := `{"claim":"s","equals":"text"}`, func(name string) string { return `{"claim":"` + name + `","equals":"hidden"}` }
	auth := func(url, kind string, conds ...string) string {
		return `{"authority":"` + url + `","` + kind + `":[` + strings.Join(conds, ",") + `]}`
	}
	for _, c := range []struct {
		authorities []string
		unmet       string // "" when the policy is met
	}{
		{[]string{auth("https://a.example", "allOf", yes)}, ""},
		{[]string{auth("https://a.example/", "allOf", yes)}, ""},
		{[]string{auth("https://a.example//", "allOf", yes)}, "no authority"},
		{[]string{auth("https://A.example", "allOf", yes)}, "no authority"},
		{[]string{auth("https://a.example/x", "allOf", yes)}, "no authority"},
		{[]string{auth("https://b.example", "anyOf", yes)}, "no authority"},
		{[]string{auth("https://a.example", "allOf", yes, no("first"), no("second"))}, "first"},
		{[]string{auth("https://a.example", "anyOf", no("first"), no("second"))}, "first"},
		{[]string{auth("https://a.example", "anyOf", no("first"), yes)}, ""},
		{[]string{auth("https://a.example", "allOf", yes, `{"anyOf":[`+no("inner")+`,`+no("other")+`]}`)}, "inner"},
		{[]string{auth("https://a.example", "allOf", yes, `{"anyOf":[`+no("inner")+`,{"allOf":[`+yes+`,`+yes+`]}]}`)}, ""},
		{[]string{auth("https://b.example", "allOf", yes), auth("https://a.example", "allOf", no("mine"))}, "mine"},
		{[]string{auth("https://a.example", "allOf", no("mine")), auth("https://a.example", "allOf", yes)}, ""},
	} {
		p, err := Parse([]byte(`{"version":"1.0.0","anyOf":[` + strings.Join(c.authorities, ",") + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		err = p.Check(a)
		if (err == nil) != (c.unmet == "") || err != nil && (!errors.Is(err, ErrNotMet) || !strings.Contains(err.Error(), c.unmet) || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "text")) {
			t.Errorf("%v: %v; want %q", c.authorities, err, c.unmet)
		}
	}
}

// FuzzPolicy: what is accepted has one form, which is accepted again and stays.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(cond(`{"claim":"c","equals":1}`)))
	f.Add([]byte(cond(`{"claim":"c","condition":"equals","value":"x"},` + nest(3))))
	f.Add([]byte(`{"version":"1.0","anyOf":[{"authority":"https://a.example/","anyOf":[{"claim":"a.b","exists":true},{"claim":"n","less":-1.5}]}]}`))
	a, err := ParseClaims([]byte(someClaims))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if !errors.Is(err, key.ErrBadParameter) {
				t.Fatal(err)
			}
			return
		}
		once := p.Encode()
		again, err := Parse(once)
		if err != nil || string(again.Encode()) != string(once) || !json.Valid(once) {
			t.Fatalf("%s became %s, then %v", b, once, err)
		}
		if fmt.Sprint(p.Check(a)) != fmt.Sprint(again.Check(a)) {
			t.Fatalf("%s and its normal form judge differently", b)
		}
	})
}
