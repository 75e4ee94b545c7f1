package key

import (
	"fmt"
	"slices"
	"strings"
)

// Op is one permitted operation of a key ("key_ops").
type Op string

// The operations, spelled as on the wire.
const (
	OpEncrypt Op = "encrypt"
	OpDecrypt Op = "decrypt"
	OpSign    Op = "sign"
	OpVerify  Op = "verify"
	OpWrap    Op = "wrapKey"
	OpUnwrap  Op = "unwrapKey"
	OpImport  Op = "import"
	OpExport  Op = "export"

	// OpSecureWrap and OpSecureUnwrap are for keys that do nothing else.
	OpSecureWrap   Op = "secureWrapKey"
	OpSecureUnwrap Op = "secureUnwrapKey"
)

// allowedOps is what a key type may be asked to do at all. The order is the one the service echoes.
var allowedOps = map[Type][]Op{
	RSA: {OpDecrypt, OpEncrypt, OpUnwrap, OpSign, OpVerify, OpWrap, OpImport, OpExport, OpSecureWrap, OpSecureUnwrap},
	EC:  {OpSign, OpVerify, OpExport},
	Oct: {OpDecrypt, OpEncrypt, OpUnwrap, OpSign, OpVerify, OpWrap, OpExport, OpSecureWrap, OpSecureUnwrap},
}

// ParseOps checks a request's key_ops for a key of type t: no duplicates, nothing the type cannot do, and
// "import" alone or not at all. nil means the type's defaults.
func ParseOps(t Type, in []string) ([]Op, error) {
	if in == nil {
		return DefaultOps(t), nil
	}
	var out []Op
	for _, s := range in {
		i := slices.IndexFunc(allowedOps[t], func(o Op) bool { return strings.EqualFold(string(o), s) })
		if i < 0 {
			return nil, fmt.Errorf("%w: key_ops %q is not possible for %s keys", ErrBadParameter, s, t)
		}
		if slices.Contains(out, allowedOps[t][i]) {
			return nil, fmt.Errorf("%w: key_ops lists %q twice", ErrBadParameter, s)
		}
		out = append(out, allowedOps[t][i])
	}
	if len(out) > 1 && slices.Contains(out, OpImport) {
		return nil, fmt.Errorf("%w: key_ops import excludes all others: a key exchange key does nothing else; make a key of its own for it", ErrBadParameter)
	}
	return out, nil
}

// IsExchangeKey tells whether ops are those of a key exchange key (KEK), under which keys from elsewhere are
// brought in (BYOK). It does that and nothing else for all its life: whoever could have it decrypt, now or
// later, could read the keys that were wrapped to it.
func IsExchangeKey(ops []Op) bool { return slices.Contains(ops, OpImport) }

// DefaultOps is what a key may do when its creator does not say.
func DefaultOps(t Type) []Op {
	switch t {
	case RSA:
		return []Op{OpDecrypt, OpEncrypt, OpUnwrap, OpSign, OpVerify, OpWrap}
	case EC:
		return []Op{OpSign, OpVerify}
	case Oct: // sign and verify too, as recordings of the service show
		return []Op{OpDecrypt, OpEncrypt, OpUnwrap, OpSign, OpVerify, OpWrap}
	}
	return nil
}
