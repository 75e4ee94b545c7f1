package main

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"redoubt/test/internal/devcloud"
)

// publicKey is a version as `az keyvault key show` prints it; byte strings are plain base64.
type publicKey struct {
	Key struct {
		Kid, Kty, Crv string
		N, E, X, Y    []byte
	}
}

// inventory is everything genuine az shows of an HSM that a restore must bring back.
type inventory struct {
	text        string               // canonical: the HSM's own name is taken out
	versions    map[string]publicKey // by "name/version"
	assignments int
}

// host is what differs between two HSMs of the same content.
var host = regexp.MustCompile(`https://contosomhsm2?\.`)

// takeInventory asks az for keys, every version, deleted keys, role assignments and definitions, and settings.
func (r *run) takeInventory(hsm string) (inventory, error) {
	inv := inventory{versions: map[string]publicKey{}}
	var lists []any
	list := func(command string) ([]map[string]any, error) {
		var out []map[string]any
		if err := r.sh.json(&out, command+" --hsm-name "+hsm); err != nil {
			return nil, fmt.Errorf("inventory of %s: %w", hsm, err)
		}
		slices.SortFunc(out, func(a, b map[string]any) int { return strings.Compare(canonical(a), canonical(b)) })
		lists = append(lists, map[string]any{command: out})
		return out, nil
	}
	keys, err := list("az keyvault key list")
	if err != nil {
		return inv, err
	}
	for _, k := range keys {
		versions, err := list(fmt.Sprintf("az keyvault key list-versions --name %v", k["name"]))
		if err != nil {
			return inv, err
		}
		for _, v := range versions {
			kid, _ := v["kid"].(string)
			if domain := cmp.Or(r.domain, ".managedhsm.azure.net/"); !strings.Contains(kid, domain) {
				return inv, fmt.Errorf("the key %s is not below %s", kid, domain)
			}
			_, id, _ := strings.Cut(kid, "/keys/")
			var shown json.RawMessage
			if err := r.sh.json(&shown, "az keyvault key show --id "+kid); err != nil {
				return inv, err
			}
			var pub publicKey
			if err := json.Unmarshal(shown, &pub); err != nil {
				return inv, fmt.Errorf("%s: %w", kid, err)
			}
			inv.versions[id] = pub
			lists = append(lists, shown)
		}
	}
	for _, command := range []string{"az keyvault key list-deleted", "az keyvault role definition list", "az keyvault setting list"} {
		if _, err := list(command); err != nil {
			return inv, err
		}
	}
	scopes := []string{""} // without a scope az lists those at / and /keys, but at no single key
	for _, k := range keys {
		scopes = append(scopes, fmt.Sprintf(" --scope /keys/%v", k["name"]))
	}
	for _, scope := range scopes {
		items, err := list("az keyvault role assignment list" + scope)
		if err != nil {
			return inv, err
		}
		inv.assignments += len(items)
	}
	inv.text = host.ReplaceAllString(canonical(lists), "https://HSM.")
	return inv, nil
}

// canonical is JSON with sorted names, one value a line.
func canonical(v any) string {
	b, err := json.Marshal(v)
	if err == nil {
		var generic any
		if err = json.Unmarshal(b, &generic); err == nil {
			b, err = json.MarshalIndent(generic, "", " ")
		}
	}
	if err != nil {
		return "not JSON: " + err.Error() // compares unequal to every inventory
	}
	return string(b)
}

// compare tells what differs between two inventories.
func (a inventory) compare(b inventory) error {
	if a.text == b.text {
		return nil
	}
	x, y := strings.Split(a.text, "\n"), strings.Split(b.text, "\n")
	i := 0
	for i < min(len(x), len(y)) && x[i] == y[i] {
		i++
	}
	around := func(l []string) string {
		return devcloud.Indent(strings.Join(l[min(max(0, i-8), len(l)):min(i+4, len(l))], "\n"))
	}
	return fmt.Errorf("the inventories differ (%d and %d lines), first at line %d\nbefore the loss:\n%s\nafter the restore:\n%s", len(x), len(y), i+1, around(x), around(y))
}

// proof is something a key did before the loss.
type proof struct {
	key, version string // version as in inventory.versions
	alg          string
	signature    []byte // of digest, or
	ciphertext   []byte // of plaintext
	iv, tag      string // of the ciphertext, hexadecimal
}

const plaintext = "made before the loss"

var digest = sha256.Sum256([]byte("signed before the loss"))

// signers are the keys that sign in proofs, with their algorithms; the latest version of each is used.
var signers = []struct{ key, alg string }{{"payroll", "RS256"}, {"payroll", "PS256"}, {"ledger", "ES256"}}

// makeProofs signs and encrypts with the source.
func (r *run) makeProofs(inv inventory) ([]proof, error) {
	var out []proof
	for _, s := range signers {
		p, err := r.sign(source, s.key, s.alg)
		if err != nil {
			return nil, err
		}
		if err := p.verify(inv); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	for _, c := range []struct{ key, alg string }{{"payroll", "RSA-OAEP-256"}, {"archive", "A256GCM"}} {
		var got struct {
			IV, Tag *string
			Result  []byte
		}
		if err := r.sh.json(&got, fmt.Sprintf("az keyvault key encrypt --hsm-name %s --name %s --algorithm %s --data-type plaintext --value '%s'", source, c.key, c.alg, plaintext)); err != nil {
			return nil, err
		}
		p := proof{key: c.key, alg: c.alg, ciphertext: got.Result}
		if got.IV != nil && got.Tag != nil {
			p.iv, p.tag = *got.IV, *got.Tag
		}
		out = append(out, p)
	}
	return out, nil
}

func (r *run) sign(hsm, key, alg string) (proof, error) {
	var got struct {
		KeyID     string
		Signature []byte
	}
	if err := r.sh.json(&got, fmt.Sprintf("az keyvault key sign --hsm-name %s --name %s --algorithm %s --digest %s", hsm, key, alg, base64.StdEncoding.EncodeToString(digest[:]))); err != nil {
		return proof{}, err
	}
	_, version, _ := strings.Cut(got.KeyID, "/keys/")
	return proof{key: key, alg: alg, version: version, signature: got.Signature}, nil
}

// verify checks a signature outside any HSM, under a public key of an inventory.
func (p proof) verify(inv inventory) error {
	pub, known := inv.versions[p.version]
	if !known {
		return fmt.Errorf("the version %s signed, which is not in the inventory", p.version)
	}
	ok := false
	switch k := pub.Key; p.alg {
	case "RS256", "PS256":
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(new(big.Int).SetBytes(k.E).Int64())}
		if p.alg == "RS256" {
			ok = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], p.signature) == nil
		} else {
			ok = rsa.VerifyPSS(key, crypto.SHA256, digest[:], p.signature, nil) == nil
		}
	case "ES256":
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, k.X, k.Y))
		half := len(p.signature) / 2
		ok = err == nil && len(p.signature) == 64 && ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(p.signature[:half]), new(big.Int).SetBytes(p.signature[half:]))
	}
	if !ok {
		return fmt.Errorf("the %s signature of %s does not verify under its public key from before the loss", p.alg, p.version)
	}
	return nil
}

// checkProofs lets the rebuilt HSM verify and decrypt what the source made, and sign anew.
func (r *run) checkProofs(old []proof, before inventory) error {
	for _, p := range old {
		if p.signature == nil {
			if err := r.decrypt(p); err != nil {
				return err
			}
			continue
		}
		var got struct{ IsValid bool }
		if err := r.sh.json(&got, fmt.Sprintf("az keyvault key verify --hsm-name %s --name %s --algorithm %s --digest %s --signature %s", rebuilt, p.key, p.alg,
			base64.StdEncoding.EncodeToString(digest[:]), base64.StdEncoding.EncodeToString(p.signature))); err != nil {
			return err
		}
		if !got.IsValid {
			return fmt.Errorf("the rebuilt HSM does not verify the %s signature of %s", p.alg, p.version)
		}
		fresh, err := r.sign(rebuilt, p.key, p.alg)
		if err != nil {
			return err
		}
		if err := fresh.verify(before); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) decrypt(p proof) error {
	command := fmt.Sprintf("az keyvault key decrypt --hsm-name %s --name %s --algorithm %s --value %s", rebuilt, p.key, p.alg, base64.StdEncoding.EncodeToString(p.ciphertext))
	if p.iv != "" {
		command += " --iv " + p.iv + " --tag " + p.tag
	}
	var got struct{ Result []byte }
	if err := r.sh.json(&got, command); err != nil {
		return err
	}
	if string(got.Result) != plaintext {
		return fmt.Errorf("%s with %s gives %q on the rebuilt HSM, not what was encrypted", p.alg, p.key, got.Result)
	}
	return nil
}
