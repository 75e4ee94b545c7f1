// Command compat-go is the Go program of the compat run: it walks every operation of azkeys, the genuine Go client,
// against a dev cloud. ../README.md tells its environment and what it must do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	err := run(ctx, os.Args[1:])
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

// run executes a verb. Steps panic with a failure; here it becomes an error.
func run(ctx context.Context, args []string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failure)
			if !ok {
				panic(p)
			}
			err = f.err
		}
	}()
	if len(args) == 0 {
		return errors.New("usage: compat-go walk [phase...] | verify | signin")
	}
	if args[0] == "signin" {
		signIn(ctx)
		return nil
	}
	s := newSession(ctx)
	switch args[0] {
	case "walk":
		s.walk(args[1:])
	case "verify":
		s.verify()
	default:
		return fmt.Errorf("%q is not a verb", args[0])
	}
	return nil
}

// session is what the steps use.
type session struct {
	ctx     context.Context
	user    azcore.TokenCredential // Crypto User
	officer *azkeys.Client         // of a Crypto Officer: deleted keys

	officerCredential azcore.TokenCredential

	client  *azkeys.Client // of the Crypto User
	options azcore.ClientOptions
	url     string
	prefix  string
	written []artefact
}

func newSession(ctx context.Context) *session {
	s := &session{ctx: ctx, url: env("REDOUBT_HSM_URL"), prefix: env("REDOUBT_COMPAT_PREFIX")}
	own := os.Getenv("REDOUBT_COMPAT_MODE") == "own-cloud"
	if own { // which authority it is comes from AZURE_AUTHORITY_HOST; nobody but us vouches for it
		s.options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: env("AZURE_AUTHORITY_HOST"), Services: map[cloud.ServiceName]cloud.ServiceConfiguration{}}
	}
	s.user = must[azcore.TokenCredential](azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: s.options, DisableInstanceDiscovery: own}))
	s.officerCredential = must[azcore.TokenCredential](azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(env("REDOUBT_OFFICER_CLIENT_ID"))}))
	s.client = s.connect(s.url, s.user, "")
	s.officer = s.connect(s.url, s.officerCredential, "")
	return s
}

// connect makes a client; an empty version is the client's own.
func (s *session) connect(url string, cred azcore.TokenCredential, version string) *azkeys.Client {
	o := s.options
	o.APIVersion = version
	return must(azkeys.NewClient(url, cred, &azkeys.ClientOptions{ClientOptions: o}))
}

// key is the name of a key of this program and mode.
func (s *session) key(name string) string { return s.prefix + name }
