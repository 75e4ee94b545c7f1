package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/securitydomain"
)

type inspect struct {
	file string
	keys []string
}

func (a *app) sdInspect() *cobra.Command {
	var v inspect
	c := a.verb("inspect", "Show what a security domain file tells without any key", `Prints the domain id, the quorum, the thumbprints of the holders' certificates and the tags of the data. Offline.
With --sd-wrapping-keys it also tells which of these files (.key or .cer; only the certificate is read) belong to holders.

Nothing shown is authenticated before the file is opened: compare the domain id with the one in the HSM's status.`, func(context.Context) error { return v.run(a) })
	c.Flags().StringVar(&v.file, "sd-file", "", "security domain file")
	c.Flags().StringArrayVar(&v.keys, "sd-wrapping-keys", nil, "files of holders to look up")
	return require(c, "sd-file")
}

type inspected struct {
	DomainID string          `json:"domainId"`
	Quorum   int             `json:"quorum"`
	Holders  []inspectHolder `json:"holders"`
	Tags     []string        `json:"tags"`
}

type inspectHolder struct {
	Share      int    `json:"share"`
	Thumbprint string `json:"x5t#S256"`
	File       string `json:"file,omitempty"`
}

func (v inspect) run(a *app) error {
	file, err := readFile("security domain", v.file)
	if err != nil {
		return err
	}
	s, err := securitydomain.Inspect(file)
	if err != nil {
		return fmt.Errorf("%s: %w", v.file, err)
	}
	out := inspected{DomainID: s.DomainID, Quorum: s.Required, Tags: s.Tags}
	for i, t := range s.Thumbprints {
		out.Holders = append(out.Holders, inspectHolder{Share: i + 1, Thumbprint: t})
	}
	for _, k := range v.keys {
		c, _, err := readCertificate(certificatePath(k))
		if err != nil {
			return err
		}
		found := false
		for i := range out.Holders {
			if out.Holders[i].Thumbprint == c.X5TS256 {
				out.Holders[i].File, found = k, true
			}
		}
		if !found {
			a.note("%s belongs to no holder of this security domain.", k)
		}
	}
	return a.print(out, "domainId", "quorum", "tags")
}
