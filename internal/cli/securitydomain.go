package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
	"redoubt/internal/securitydomain"
)

func (a *app) securityDomain() *cobra.Command {
	return group("security-domain", "Take, carry and restore security domains", a.sdKeygen(), a.sdDownload(), a.sdInspect(), a.sdInitRecovery(),
		a.sdRestoreBlob(), a.sdUpload(), a.sdWait())
}

// domainStatus is how az prints the state of a security domain operation.
type domainStatus struct {
	Status  string `json:"status"`
	Details string `json:"statusDetails"`
}

func (a *app) printDomainStatus(s client.DomainStatus) error {
	return a.print(domainStatus{s.Status, s.Details}, "status", "statusDetails")
}

// certificatePath is where the certificate of a private key lies: beside it, with the ending .cer, as az
// expects it. A certificate's own path is returned as it is.
func certificatePath(key string) string {
	if strings.EqualFold(filepath.Ext(key), ".cer") {
		return key
	}
	return strings.TrimSuffix(key, filepath.Ext(key)) + ".cer"
}

func readCertificate(path string) (securitydomain.Certificate, []byte, error) {
	pem, err := readFile("certificate", path)
	if err != nil {
		return securitydomain.Certificate{}, nil, err
	}
	c, err := securitydomain.ParseCertificate(path, pem)
	return c, pem, err
}

// domainName is how a domain id is shown.
func domainName(id string) string {
	if id == "" {
		return "none in the file (not made by Redoubt)"
	}
	return id
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
