package identity

import (
	"bytes"
	"crypto/rand"
	"html/template"
	"net/http"
	"net/url"
)

// pageData fills the one page of this service: a text, a problem, a form, in any combination.
type pageData struct {
	Title, Text, Problem string
	Action               string // form target; no form when empty
	AskCode, AskPassword bool
	UserCode, Username   string
	Hidden               map[string]string
	Submit               bool // send the form at once
	Nonce                string

	redirect *url.URL // where the form may lead to besides here
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style nonce="{{.Nonce}}">body{font:16px/1.5 sans-serif;max-width:26em;margin:4em auto;padding:0 1em}label{display:block;margin:1em 0}
input{display:block;width:100%;font:inherit;padding:.3em;box-sizing:border-box}button{font:inherit;padding:.4em 1.5em}.problem{color:#a00}.note{color:#555;font-size:85%}</style>
</head><body><h1>{{.Title}}</h1>
{{with .Text}}<p>{{.}}</p>{{end}}
{{with .Problem}}<p class="problem" role="alert">{{.}}</p>{{end}}
{{if .Action}}<form method="post" action="{{.Action}}" id="f">
{{range $k, $v := .Hidden}}<input type="hidden" name="{{$k}}" value="{{$v}}">{{end}}
{{if .AskCode}}<label>Code shown by the device<input name="user_code" value="{{.UserCode}}" autocomplete="off" required></label>{{end}}
{{if .AskPassword}}<label>User name<input name="username" value="{{.Username}}" autocomplete="username" required></label>
<label>Password<input type="password" name="password" autocomplete="current-password" required></label>{{end}}
<button>{{if .Submit}}Continue{{else}}Sign in{{end}}</button></form>
{{if .Submit}}<script nonce="{{.Nonce}}">document.getElementById("f").submit()</script>{{end}}{{end}}
<p class="note">Local Redoubt cloud. Only accounts of this cloud work here; never enter others.</p>
</body></html>
`))

func (s *Server) page(w http.ResponseWriter, status int, p pageData) {
	p.Nonce = rand.Text()
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		s.log.Error("page failed", "error", err)
		http.Error(w, "cannot show the page", http.StatusInternalServerError)
		return
	}
	targets := "'self'"
	if p.redirect != nil {
		targets += " http://" + p.redirect.Host
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+p.Nonce+"'; script-src 'nonce-"+p.Nonce+
		"'; form-action "+targets+"; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	w.Write(b.Bytes()) //nolint:errcheck // the client went away; there is nobody to tell
}
