package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

// sasVariable is the environment variable that a SAS token is read from.
const sasVariable = "REDOUBT_STORAGE_SAS_TOKEN"

// storage is the container of a backup or restore, as az's flags name it.
type storage struct {
	account, container, uri string
	sas, sasFile            string
}

func (s *storage) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.account, "storage-account-name", "", "storage account")
	f.StringVar(&s.container, "blob-container-name", "", "blob container in that account")
	f.StringVarP(&s.uri, "storage-resource-uri", "u", "", "URL of the container, instead of these two")
	f.StringVarP(&s.sas, "storage-container-SAS-token", "t", "", "SAS token; an argument is seen by others on this machine: rather use the file or the variable "+sasVariable)
	f.StringVar(&s.sasFile, "storage-container-sas-token-file", "", "file that holds the SAS token, - for standard input")
	c.MarkFlagsMutuallyExclusive("storage-container-SAS-token", "storage-container-sas-token-file")
}

// address is the container's URL.
func (s *storage) address(c *client.Client) (string, error) {
	switch {
	case s.uri != "" && (s.account != "" || s.container != ""):
		return "", wrongUse("--storage-resource-uri stands instead of --storage-account-name and --blob-container-name")
	case s.uri != "":
		return strings.TrimRight(s.uri, "/"), nil
	case s.account == "" || s.container == "":
		return "", wrongUse("--storage-account-name and --blob-container-name are needed, or --storage-resource-uri")
	}
	return c.ContainerURL(s.account, s.container), nil
}

// token is the SAS token, "" when there is none.
func (s *storage) token(a *app) (string, error) {
	text := s.sas
	switch {
	case s.sasFile == "-":
		b, err := io.ReadAll(io.LimitReader(a.in, 1<<16))
		if err != nil {
			return "", fmt.Errorf("read the SAS token from standard input: %w", err)
		}
		text = string(b)
	case s.sasFile != "":
		b, err := os.ReadFile(s.sasFile)
		if err != nil {
			return "", fmt.Errorf("read the SAS token: %w", err)
		}
		text = string(bytes.TrimSpace(b))
	case text == "":
		text = a.getenv(sasVariable)
	}
	text = strings.TrimPrefix(strings.TrimSpace(text), "?")
	if strings.HasPrefix(text, "https://") {
		return "", wrongUse("the SAS token is a whole URL: give what stands behind its question mark")
	}
	if s.sasFile != "" && text == "" {
		return "", errors.New("the SAS token file is empty")
	}
	return text, nil
}

// forHSM is the storage as the HSM is to use it.
func (s *storage) forHSM(a *app, c *client.Client, identity bool) (client.Storage, error) {
	uri, err := s.address(c)
	if err != nil {
		return client.Storage{}, err
	}
	if identity {
		if s.sas != "" || s.sasFile != "" {
			return client.Storage{}, wrongUse("--use-managed-identity and a SAS token exclude each other")
		}
		return client.Storage{URI: uri, ManagedIdentity: true}, nil
	}
	token, err := s.token(a)
	if err != nil {
		return client.Storage{}, err
	}
	if token == "" {
		return client.Storage{}, wrongUse("a SAS token is needed (--storage-container-SAS-token, --storage-container-sas-token-file or %s), or --use-managed-identity true", sasVariable)
	}
	return client.Storage{URI: uri, SAS: func() string { return token }}, nil
}
