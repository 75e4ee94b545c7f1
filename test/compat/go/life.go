package main

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// backups backs a key up, loses it, and gets all its versions back.
func (s *session) backups() {
	name := s.key("backup")
	p := azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP256), Tags: map[string]*string{"kept": to("yes")}}
	first := must(s.client.CreateKey(s.ctx, name, p, nil)).KeyBundle
	second := must(s.client.CreateKey(s.ctx, name, p, nil)).KeyBundle
	digest := digestFor("ES256", "before the loss")
	before := must(s.client.Sign(s.ctx, name, first.Key.KID.Version(), azkeys.SignParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Value: digest}, nil))
	blob := must(s.client.BackupKey(s.ctx, name, nil)).Value
	want(len(blob) > 100 && !bytes.Contains(blob, first.Key.X), "the backup has %d bytes", len(blob))
	_, err := s.client.RestoreKey(s.ctx, azkeys.RestoreKeyParameters{KeyBackup: blob}, nil)
	refused(err, 409, "Conflict", "restore over a key that is there")
	s.remove(name)
	_, err = s.client.RestoreKey(s.ctx, azkeys.RestoreKeyParameters{KeyBackup: changed(blob)}, nil)
	refused(err, 400, "BadParameter", "restore a damaged backup")
	back := must(s.client.RestoreKey(s.ctx, azkeys.RestoreKeyParameters{KeyBackup: blob}, nil)).KeyBundle
	sameBundle(back, second)
	sameBundle(must(s.client.GetKey(s.ctx, name, first.Key.KID.Version(), nil)).KeyBundle, first)
	ok := must(s.client.Verify(s.ctx, name, first.Key.KID.Version(), azkeys.VerifyParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Digest: digest, Signature: before.Result}, nil))
	want(*ok.Value, "after the restore an old signature does not verify")
	step("backed up, lost and restored a key of two versions")
}

// rotations sets a policy, rotates, and takes the policy away.
func (s *session) rotations() {
	name := s.key("rotated")
	first := must(s.client.CreateKey(s.ctx, name, azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP384), KeyOps: signVerify[:1], Tags: map[string]*string{"kept": to("yes")}}, nil)).KeyBundle
	policy := azkeys.KeyRotationPolicy{Attributes: &azkeys.KeyRotationPolicyAttributes{ExpiryTime: to("P90D")},
		LifetimeActions: []*azkeys.LifetimeAction{{Action: &azkeys.LifetimeActionType{Type: to(azkeys.KeyRotationPolicyActionRotate)}, Trigger: &azkeys.LifetimeActionTrigger{TimeAfterCreate: to("P60D")}}}}
	set := must(s.client.UpdateKeyRotationPolicy(s.ctx, name, policy, nil)).KeyRotationPolicy
	got := must(s.client.GetKeyRotationPolicy(s.ctx, name, nil)).KeyRotationPolicy
	for _, p := range []azkeys.KeyRotationPolicy{set, got} {
		want(*p.ID == s.url+"/keys/"+name+"/rotationpolicy" && *p.Attributes.ExpiryTime == "P90D" && p.Attributes.Created != nil, "the policy is %s, %s", value(p.ID), value(p.Attributes.ExpiryTime))
		want(slices.ContainsFunc(p.LifetimeActions, func(a *azkeys.LifetimeAction) bool {
			return *a.Action.Type == azkeys.KeyRotationPolicyActionRotate && value(a.Trigger.TimeAfterCreate) == "P60D"
		}), "the policy does not rotate after 60 days")
	}
	second := must(s.client.RotateKey(s.ctx, name, nil)).KeyBundle
	s.checkBundle(second, name)
	want(second.Key.KID.Version() != first.Key.KID.Version() && !bytes.Equal(second.Key.X, first.Key.X), "rotation has made no new key")
	want(ops(second) == ops(first) && tags(second.Tags) == tags(first.Tags) && *second.Key.Crv == *first.Key.Crv, "after the rotation: %s %s", ops(second), tags(second.Tags))
	want(second.Attributes.Expires != nil && second.Attributes.Expires.Sub(*second.Attributes.Created) == 90*24*time.Hour, "the new version does not expire after 90 days: %v", second.Attributes.Expires)
	want(must(s.client.GetKey(s.ctx, name, "", nil)).Key.KID.Version() == second.Key.KID.Version(), "the latest version is not the rotated one")
	must(s.client.UpdateKeyRotationPolicy(s.ctx, name, azkeys.KeyRotationPolicy{}, nil))
	step("rotated a key by its policy")
}

// attestations fetches the evidence that a key was made in the HSM.
func (s *session) attestations() {
	for _, k := range []string{"rsa-2048", "ec-256", "oct-256"} {
		b := must(s.client.GetKeyAttestation(s.ctx, s.key(k), "", nil)).KeyBundle
		a := b.Attributes.Attestation
		want(a != nil && len(a.CertificatePEMFile) > 0 && len(a.PrivateKeyAttestation) > 0 && value(a.Version) != "", "%s: no attestation", k)
		want((len(a.PublicKeyAttestation) > 0) == (k != "oct-256"), "%s: public attestation of %d bytes", k, len(a.PublicKeyAttestation))
		plain := must(s.client.GetKey(s.ctx, s.key(k), "", nil)).KeyBundle
		want(plain.Attributes.Attestation == nil, "%s: an attestation where none was asked for", k)
		sameBundle(b, plain)
	}
	step("attestations of three keys")
}

// random asks for random bytes.
func (s *session) random() {
	seen := map[string]bool{}
	for _, n := range []int32{1, 32, 128, 128} {
		b := must(s.client.GetRandomBytes(s.ctx, azkeys.GetRandomBytesParameters{Count: &n}, nil)).Value
		want(len(b) == int(n) && !seen[string(b)], "%d random bytes, asked for %d", len(b), n)
		seen[string(b)] = true
	}
	_, err := s.client.GetRandomBytes(s.ctx, azkeys.GetRandomBytesParameters{Count: to[int32](129)}, nil)
	refused(err, 400, "BadParameter", "129 random bytes")
	step("random bytes")
}

// refusals are what the client shows as errors.
func (s *session) refusals() {
	_, err := s.client.GetKey(s.ctx, s.key("never-made"), "", nil)
	refused(err, 404, "KeyNotFound", "get a key that is not there")
	_, err = s.client.Sign(s.ctx, s.key("ec-256"), "", azkeys.SignParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Value: make([]byte, 31)}, nil)
	refused(err, 400, "BadParameter", "sign a digest of 31 bytes")
	_, err = s.client.Sign(s.ctx, s.key("ec-256"), "", azkeys.SignParameters{Algorithm: to(azkeys.SignatureAlgorithmRS256), Value: make([]byte, 32)}, nil)
	refused(err, 400, "BadParameter", "sign RS256 with an EC key")
	_, err = s.client.CreateKey(s.ctx, s.key("bad"), azkeys.CreateKeyParameters{Kty: to(azkeys.KeyType("DSA"))}, nil)
	refused(err, 400, "BadParameter", "create a key of an unknown type")
	_, err = s.client.CreateKey(s.ctx, s.key("bad_name"), azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeRSAHSM)}, nil)
	refused(err, 400, "BadParameter", "create a key with a bad name")
	_, err = s.client.Decrypt(s.ctx, s.key("rsa-2048"), "", azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmRSAOAEP256), Value: make([]byte, 256)}, nil)
	refused(err, 400, "BadParameter", "decrypt what was not encrypted")
	step("refusals show the service's codes")
}

// apiVersions are all of Managed HSM's, oldest first.
var apiVersions = []string{"7.2-preview", "7.2", "7.3-preview", "7.3", "7.4-preview.1", "7.4", "7.5-preview.1", "7.5", "7.6-preview.1", "7.6-preview.2", "7.6",
	"2025-06-01-preview", "2025-07-01", "2026-01-01-preview", "2026-03-01-preview", "2026-04-01", "2026-05-01-preview", "2026-07-01-preview"}

// since tells whether an api-version is first or a later one.
func since(v, first string) bool {
	return slices.Index(apiVersions, v) >= slices.Index(apiVersions, first)
}

// versions walks the life of a key with each api-version.
func (s *session) versions() {
	for _, v := range apiVersions {
		c, officer := s.connect(s.url, s.user, v), s.connect(s.url, s.officerCredential, v)
		name := s.key("api-" + strings.ReplaceAll(v, ".", "-"))
		made := must(c.CreateKey(s.ctx, name, azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP256), Tags: map[string]*string{"api": &v}}, nil)).KeyBundle
		s.checkBundle(made, name)
		must(c.UpdateKey(s.ctx, name, made.Key.KID.Version(), azkeys.UpdateKeyParameters{Tags: map[string]*string{"api": &v, "more": to("")}}, nil))
		digest := digestFor("ES256", v)
		sig := must(c.Sign(s.ctx, name, "", azkeys.SignParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Value: digest}, nil)).Result
		want(*must(c.Verify(s.ctx, name, "", azkeys.VerifyParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Digest: digest, Signature: sig}, nil)).Value, "%s: the signature does not verify", v)
		must(c.NewListKeyPropertiesPager(nil).NextPage(s.ctx))
		must(c.NewListKeyPropertiesVersionsPager(name, nil).NextPage(s.ctx))
		oct := s.key("oct-256")
		cbc := azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmA256CBCPAD), Value: []byte(v), IV: random(16)}
		enc := must(c.Encrypt(s.ctx, oct, "", cbc, nil))
		cbc.Value = enc.Result
		want(string(must(c.Decrypt(s.ctx, oct, "", cbc, nil)).Result) == v, "%s: the plaintext does not come back", v)
		wrapped := must(c.WrapKey(s.ctx, oct, "", azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmA256KW), Value: digest}, nil)).Result
		want(bytes.Equal(must(c.UnwrapKey(s.ctx, oct, "", azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmA256KW), Value: wrapped}, nil)).Result, digest), "%s: the wrapped key does not come back", v)
		blob := must(c.BackupKey(s.ctx, name, nil)).Value
		must(c.DeleteKey(s.ctx, name, nil))
		must(officer.GetDeletedKey(s.ctx, name, nil))
		must(officer.NewListDeletedKeyPropertiesPager(nil).NextPage(s.ctx))
		must(officer.RecoverDeletedKey(s.ctx, name, nil))
		must(c.DeleteKey(s.ctx, name, nil))
		must(officer.PurgeDeletedKey(s.ctx, name, nil))
		must(c.RestoreKey(s.ctx, azkeys.RestoreKeyParameters{KeyBackup: blob}, nil))
		s.newer(c, v, name)
		step("api-version %s", v)
	}
	_, err := s.connect(s.url, s.user, "1999-01-01").GetKey(s.ctx, s.key("ec-256"), "", nil)
	refused(err, 400, "BadParameter", "an api-version that never was")
}

// newer uses what api-versions after 7.2 have, and is refused it before.
func (s *session) newer(c *azkeys.Client, v, name string) {
	_, err := c.GetRandomBytes(s.ctx, azkeys.GetRandomBytesParameters{Count: to[int32](16)}, nil)
	if !since(v, "7.3-preview") {
		want(err != nil, "%s gives random bytes", v)
		return
	}
	must(0, err)
	must(c.GetKeyRotationPolicy(s.ctx, name, nil))
	action := azkeys.KeyRotationPolicyActionRotate
	if !since(v, "7.5-preview.1") {
		action = "rotate" // so they spelled it then
	}
	must(c.UpdateKeyRotationPolicy(s.ctx, name, azkeys.KeyRotationPolicy{LifetimeActions: []*azkeys.LifetimeAction{
		{Action: &azkeys.LifetimeActionType{Type: &action}, Trigger: &azkeys.LifetimeActionTrigger{TimeAfterCreate: to("P30D")}}}}, nil))
	must(c.RotateKey(s.ctx, name, nil))
	if since(v, "7.6-preview.2") {
		must(c.GetKeyAttestation(s.ctx, name, "", nil))
	}
}
