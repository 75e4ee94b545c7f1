package main

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// verify checks what all programs have left: signatures here, ciphertexts by the service.
func (s *session) verify() {
	for _, program := range strings.Split(env("REDOUBT_COMPAT_PROGRAMS"), ",") {
		here, there, opened := 0, 0, 0
		clients := map[string]*azkeys.Client{}
		for _, a := range readArtefacts(program) {
			u := must(url.Parse(a.Kid))
			c := clients[u.Host]
			if c == nil {
				c = s.connect("https://"+u.Host, s.user, "")
				clients[u.Host] = c
			}
			want(a.Data == nil || bytes.Equal(a.Digest, digestFor(a.Alg, string(a.Data))), "%s: %s %s: the digest is not that of the data", program, a.Kid, a.Alg)
			switch {
			case a.Kind == "signature" && a.JWK != nil:
				want(a.checkSignature() == nil, "%s: %s %s: %v", program, a.Kid, a.Alg, a.checkSignature())
				wrong := a
				wrong.Digest = changed(a.Digest)
				want(wrong.checkSignature() != nil, "%s: %s %s: verifies with another digest", program, a.Kid, a.Alg)
				here++
			case a.Kind == "signature":
				s.verifyThere(c, a)
				there++
			case a.Kind == "ciphertext":
				s.opens(c, a)
				opened++
			default:
				want(false, "%s: an artefact of the kind %q", program, a.Kind)
			}
		}
		step("%s: %d signatures verified here, %d by the service, %d ciphertexts opened", program, here, there, opened)
	}
}
