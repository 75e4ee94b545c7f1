package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// phases are the parts of the walk, in order.
var phases = []struct {
	name string
	do   func(*session)
}{
	{"creates", (*session).creates}, {"attributes", (*session).attributes}, {"lists", (*session).lists}, {"deleted", (*session).deleted},
	{"imports", (*session).imports}, {"transfers", (*session).transfers}, {"signatures", (*session).signatures}, {"ciphers", (*session).ciphers},
	{"backups", (*session).backups}, {"rotations", (*session).rotations}, {"releases", (*session).releases}, {"attestations", (*session).attestations},
	{"secureWraps", (*session).secureWraps}, {"random", (*session).random}, {"refusals", (*session).refusals}, {"versions", (*session).versions},
	{"resources", (*session).resources}, {"armKeys", (*session).armKeys}, {"cleanUp", (*session).cleanUp},
}

// walk goes through every operation of the client. Keys that artefacts name live on; all others are purged. With
// names, only these phases are walked: for work on the program.
func (s *session) walk(only []string) {
	for _, p := range phases {
		if len(only) == 0 || slices.Contains(only, p.name) {
			p.do(s)
		}
	}
	s.writeArtefacts()
}

// kind is a kind of key to make: the parameters, and what comes back.
type kind struct {
	name string
	p    azkeys.CreateKeyParameters
	kty  azkeys.KeyType
}

var signVerify = []*azkeys.KeyOperation{to(azkeys.KeyOperationSign), to(azkeys.KeyOperationVerify)}

// kinds are all types, curves and sizes. The names are those of the keys.
var kinds = []kind{
	{"rsa-2048", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeRSAHSM), KeySize: to[int32](2048), PublicExponent: to[int32](65537)}, azkeys.KeyTypeRSAHSM},
	{"rsa-3072", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeRSA), KeySize: to[int32](3072)}, azkeys.KeyTypeRSAHSM},
	{"rsa-4096", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeRSAHSM), KeySize: to[int32](4096)}, azkeys.KeyTypeRSAHSM},
	{"ec-256", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeEC), Curve: to(azkeys.CurveNameP256)}, azkeys.KeyTypeECHSM},
	{"ec-256k", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP256K)}, azkeys.KeyTypeECHSM},
	{"ec-384", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP384)}, azkeys.KeyTypeECHSM},
	{"ec-521", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP521)}, azkeys.KeyTypeECHSM},
	{"oct-128", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeOctHSM), KeySize: to[int32](128)}, azkeys.KeyTypeOctHSM},
	{"oct-192", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeOctHSM), KeySize: to[int32](192)}, azkeys.KeyTypeOctHSM},
	{"oct-256", azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeOctHSM), KeySize: to[int32](256)}, azkeys.KeyTypeOctHSM},
}

// coordinate is how many bytes a coordinate has.
var coordinate = map[azkeys.CurveName]int{azkeys.CurveNameP256: 32, azkeys.CurveNameP256K: 32, azkeys.CurveNameP384: 48, azkeys.CurveNameP521: 66}

// creates makes a key of each kind, reads it back and compares.
func (s *session) creates() {
	for _, k := range kinds {
		name := s.key(k.name)
		made := must(s.client.CreateKey(s.ctx, name, k.p, nil)).KeyBundle
		s.checkBundle(made, name)
		want(*made.Key.Kty == k.kty, "%s: kty %s", name, *made.Key.Kty)
		switch k.kty {
		case azkeys.KeyTypeRSAHSM:
			want(len(made.Key.N) == int(*k.p.KeySize)/8 && string(made.Key.E) == "\x01\x00\x01", "%s: modulus of %d bytes, exponent %x", name, len(made.Key.N), made.Key.E)
		case azkeys.KeyTypeECHSM:
			n := coordinate[*k.p.Curve]
			want(*made.Key.Crv == *k.p.Curve && len(made.Key.X) == n && len(made.Key.Y) == n, "%s: %s with coordinates of %d and %d bytes", name, *made.Key.Crv, len(made.Key.X), len(made.Key.Y))
		default:
			want(made.Key.N == nil && made.Key.X == nil, "%s: a symmetric key with a public part", name)
		}
		got := must(s.client.GetKey(s.ctx, name, made.Key.KID.Version(), nil)).KeyBundle
		latest := must(s.client.GetKey(s.ctx, name, "", nil)).KeyBundle
		sameBundle(got, made)
		sameBundle(latest, made)
		step("created and read %s: %s", k.name, *made.Key.KID)
	}
}

var identifier = regexp.MustCompile(`^/keys/([0-9A-Za-z-]{1,127})/([0-9a-f]{32})$`)

// checkBundle checks what every key has.
func (s *session) checkBundle(b azkeys.KeyBundle, name string) {
	path, ok := strings.CutPrefix(string(*b.Key.KID), s.url)
	m := identifier.FindStringSubmatch(path)
	want(ok && m != nil && m[1] == name, "kid %s, want %s/keys/%s/…", *b.Key.KID, s.url, name)
	a := b.Attributes
	now := time.Now()
	want(*a.Enabled && a.Created.Sub(now).Abs() < 2*time.Minute && !a.Updated.Before(*a.Created), "%s: enabled %v, created %s, updated %s", name, *a.Enabled, a.Created, a.Updated)
	want(*a.RecoverableDays == 7 && *a.RecoveryLevel == "CustomizedRecoverable+Purgeable", "%s: %d days, %s", name, *a.RecoverableDays, *a.RecoveryLevel)
	want(b.Key.D == nil && b.Key.K == nil && b.Key.P == nil, "%s: a private member came back", name)
}

// sameBundle compares two answers about the same version.
func sameBundle(a, b azkeys.KeyBundle) {
	want(*a.Key.KID == *b.Key.KID, "kid %s and %s", *a.Key.KID, *b.Key.KID)
	want(*a.Key.Kty == *b.Key.Kty && value(a.Key.Crv) == value(b.Key.Crv), "%s: types differ", *a.Key.KID)
	want(string(a.Key.N) == string(b.Key.N) && string(a.Key.E) == string(b.Key.E) && string(a.Key.X) == string(b.Key.X) && string(a.Key.Y) == string(b.Key.Y), "%s: public parts differ", *a.Key.KID)
	want(ops(a) == ops(b), "%s: key_ops %s and %s", *a.Key.KID, ops(a), ops(b))
	want(tags(a.Tags) == tags(b.Tags), "%s: tags %s and %s", *a.Key.KID, tags(a.Tags), tags(b.Tags))
	want(*a.Attributes.Enabled == *b.Attributes.Enabled && a.Attributes.Created.Equal(*b.Attributes.Created), "%s: attributes differ", *a.Key.KID)
}

// ops are a key's operations as a set.
func ops(b azkeys.KeyBundle) string {
	var out []string
	for _, o := range b.Key.KeyOps {
		out = append(out, string(*o))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func tags(m map[string]*string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+*v)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// attributes changes what can be changed.
func (s *session) attributes() {
	name := s.key("attributes")
	from, until := time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Add(240*time.Hour).Truncate(time.Second)
	made := must(s.client.CreateKey(s.ctx, name, azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP256), KeyOps: signVerify[:1],
		KeyAttributes: &azkeys.KeyAttributes{Enabled: to(true), NotBefore: &from, Expires: &until}, Tags: map[string]*string{"a": to("b"), "empty": to("")}}, nil)).KeyBundle
	s.checkBundle(made, name)
	want(ops(made) == "sign" && tags(made.Tags) == "a=b empty=" && made.Attributes.NotBefore.Equal(from) && made.Attributes.Expires.Equal(until), "%s: is not as it was asked for", name)
	version := made.Key.KID.Version()
	changed := must(s.client.UpdateKey(s.ctx, name, version, azkeys.UpdateKeyParameters{KeyOps: signVerify, Tags: map[string]*string{"c": to("d")},
		KeyAttributes: &azkeys.KeyAttributes{Enabled: to(false), Expires: to(until.Add(time.Hour))}}, nil)).KeyBundle
	want(ops(changed) == "sign verify" && tags(changed.Tags) == "c=d" && !*changed.Attributes.Enabled, "%s: after the update: %s %s", name, ops(changed), tags(changed.Tags))
	want(changed.Attributes.Expires.Equal(until.Add(time.Hour)) && changed.Attributes.NotBefore.Equal(from), "%s: times after the update", name)
	sameBundle(must(s.client.GetKey(s.ctx, name, "", nil)).KeyBundle, changed)
	_, err := s.client.Sign(s.ctx, name, version, azkeys.SignParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Value: make([]byte, 32)}, nil)
	refused(err, 403, "Forbidden", "sign with a disabled key")
	must(s.client.UpdateKey(s.ctx, name, "", azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to(true)}}, nil))
	must(s.client.Sign(s.ctx, name, "", azkeys.SignParameters{Algorithm: to(azkeys.SignatureAlgorithmES256), Value: make([]byte, 32)}, nil))
	s.remove(name)
	step("attributes, tags and operations of a key: made, changed, disabled, enabled")
}

// lists makes more versions, and more keys than a page has.
func (s *session) lists() {
	const keys, versions = 27, 4
	p := azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeOctHSM), KeySize: to[int32](128)}
	var made []string
	for i := range keys {
		name := s.key(fmt.Sprintf("page-%02d", i))
		must(s.client.CreateKey(s.ctx, name, p, nil))
		made = append(made, name)
	}
	found, pages := map[string]bool{}, 0
	for pager := s.client.NewListKeyPropertiesPager(nil); pager.More(); pages++ {
		for _, k := range must(pager.NextPage(s.ctx)).Value {
			want(k.KID.Version() == "" && *k.Attributes.Enabled, "the list has %s", *k.KID)
			want(!found[k.KID.Name()], "%s is listed twice", *k.KID)
			found[k.KID.Name()] = true
		}
	}
	want(pages >= 2, "%d keys on %d page", len(found), pages)
	for _, name := range made {
		want(found[name], "%s is not listed", name)
	}
	step("%d keys listed on %d pages", len(found), pages)

	var latest string
	for range versions - 1 {
		latest = must(s.client.CreateKey(s.ctx, made[0], p, nil)).Key.KID.Version()
	}
	seen := map[string]bool{}
	for pager := s.client.NewListKeyPropertiesVersionsPager(made[0], nil); pager.More(); {
		for _, v := range must(pager.NextPage(s.ctx)).Value {
			want(v.KID.Name() == made[0] && v.KID.Version() != "", "the list of versions has %s", *v.KID)
			seen[v.KID.Version()] = true
		}
	}
	want(len(seen) == versions && seen[latest], "%d versions are listed", len(seen))
	now := must(s.client.GetKey(s.ctx, made[0], "", nil)).Key.KID.Version()
	want(now == latest, "the latest version is %s, not %s", now, latest)
	step("%d versions listed", len(seen))
	s.listDeleted(made)
}

// listDeleted deletes keys, finds them in the list of deleted ones, and purges them.
func (s *session) listDeleted(names []string) {
	for _, name := range names {
		must(s.client.DeleteKey(s.ctx, name, nil))
	}
	found, pages := map[string]bool{}, 0
	for pager := s.officer.NewListDeletedKeyPropertiesPager(nil); pager.More(); pages++ {
		for _, k := range must(pager.NextPage(s.ctx)).Value {
			want(strings.HasPrefix(*k.RecoveryID, s.url+"/deletedkeys/") && k.ScheduledPurgeDate.After(*k.DeletedDate), "the list of deleted keys has %s", *k.KID)
			found[k.KID.Name()] = true
		}
	}
	want(pages >= 2, "%d deleted keys on %d page", len(found), pages)
	for _, name := range names {
		want(found[name], "%s is not listed as deleted", name)
		must(s.officer.PurgeDeletedKey(s.ctx, name, nil))
	}
	step("%d deleted keys listed on %d pages, and purged", len(found), pages)
}

// deleted takes a key through deletion, recovery and purge.
func (s *session) deleted() {
	name := s.key("deleted")
	p := azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeECHSM), Curve: to(azkeys.CurveNameP384), Tags: map[string]*string{"kept": to("yes")}}
	made := must(s.client.CreateKey(s.ctx, name, p, nil)).KeyBundle
	gone := must(s.client.DeleteKey(s.ctx, name, nil)).DeletedKey
	want(*gone.RecoveryID == s.url+"/deletedkeys/"+name && *gone.Key.KID == *made.Key.KID, "deleted: %s %s", *gone.RecoveryID, *gone.Key.KID)
	want(gone.ScheduledPurgeDate.Sub(*gone.DeletedDate) == 7*24*time.Hour, "deleted at %s, to be purged at %s", gone.DeletedDate, gone.ScheduledPurgeDate)
	_, err := s.client.GetKey(s.ctx, name, "", nil)
	refused(err, 404, "KeyNotFound", "get a deleted key")
	_, err = s.client.CreateKey(s.ctx, name, p, nil)
	refused(err, 409, "Conflict", "create over a deleted key")
	_, err = s.client.GetDeletedKey(s.ctx, name, nil)
	refused(err, 403, "AccessDenied", "get a deleted key as Crypto User")
	again := must(s.officer.GetDeletedKey(s.ctx, name, nil)).DeletedKey
	want(*again.Key.KID == *made.Key.KID && tags(again.Tags) == "kept=yes", "the deleted key is %s", *again.Key.KID)
	back := must(s.officer.RecoverDeletedKey(s.ctx, name, nil)).KeyBundle
	sameBundle(back, made)
	sameBundle(must(s.client.GetKey(s.ctx, name, "", nil)).KeyBundle, made)
	s.remove(name)
	_, err = s.officer.GetDeletedKey(s.ctx, name, nil)
	refused(err, 404, "KeyNotFound", "get a purged key")
	step("a key deleted, recovered, deleted and purged")
}

// remove deletes and purges a key.
func (s *session) remove(name string) {
	must(s.client.DeleteKey(s.ctx, name, nil))
	must(s.officer.PurgeDeletedKey(s.ctx, name, nil))
}

// cleanUp removes the keys that no artefact names.
func (s *session) cleanUp() {
	needed := map[string]bool{}
	for _, a := range s.written {
		needed[to(azkeys.ID(a.Kid)).Name()] = true
	}
	removed := 0
	var names []string
	for pager := s.client.NewListKeyPropertiesPager(nil); pager.More(); {
		for _, k := range must(pager.NextPage(s.ctx)).Value {
			names = append(names, k.KID.Name())
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, s.prefix) && !needed[name] {
			s.remove(name)
			removed++
		}
	}
	step("%d keys removed, %d kept for verify", removed, len(needed))
}
