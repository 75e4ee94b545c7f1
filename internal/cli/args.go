package cli

import "strings"

// severalValues are flags that take all arguments up to the next flag, as az's do:
// --sd-wrapping-keys cert_0.key cert_1.key cert_2.key.
var severalValues = map[string]bool{"--sd-wrapping-keys": true, "--passwords": true, "--administrators": true, "--mi-user-assigned": true,
	"--ops": true, "--tags": true, "--ip-address": true, "--network-acls-ips": true}

// threeState are flags that may be followed by a yes or no: --use-managed-identity true.
var threeState = map[string]bool{"--use-managed-identity": true, "--enable-purge-protection": true, "--disabled": true, "--include-managed": true,
	"--enabled": true, "--exportable": true, "--immutable": true}

var yesNo = map[string]string{"true": "true", "t": "true", "yes": "true", "y": "true", "1": "true", "on": "true",
	"false": "false", "f": "false", "no": "false", "n": "false", "0": "false", "off": "false"}

// expand rewrites az's ways with arguments into those of the flag library: a flag with several values becomes
// that flag several times, and a yes or no is tied to its flag.
func expand(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return append(out, args[i:]...)
		case severalValues[arg]:
			n := 0
			for ; i+1 < len(args) && !strings.HasPrefix(args[i+1], "-"); i, n = i+1, n+1 {
				out = append(out, arg+"="+args[i+1])
			}
			if n == 0 {
				out = append(out, arg)
			}
		case threeState[arg] && i+1 < len(args) && yesNo[strings.ToLower(args[i+1])] != "":
			out = append(out, arg+"="+yesNo[strings.ToLower(args[i+1])])
			i++
		default:
			out = append(out, arg)
		}
	}
	return out
}
