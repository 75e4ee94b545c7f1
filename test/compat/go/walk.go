package main

import (
	"crypto/sha256"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// walk goes through every operation of the client.
func (s *session) walk() {
	name := s.key("first")
	k := must(s.client.CreateKey(s.ctx, name, azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP256)}, nil))
	step("created %s", *k.Key.KID)
	d := sha256.Sum256([]byte("x"))
	must(s.client.Sign(s.ctx, name, "", azkeys.SignParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Value: d[:]}, nil))
	step("signed")
	must(s.client.DeleteKey(s.ctx, name, nil))
	must(s.officer.GetDeletedKey(s.ctx, name, nil))
	must(s.officer.PurgeDeletedKey(s.ctx, name, nil))
	step("deleted and purged")
}

func (s *session) verify() { step("nothing yet") }
