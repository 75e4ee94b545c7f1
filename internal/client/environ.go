package client

import (
	"fmt"
	"net/http"
	"strings"
)

// The ways to sign in that FromEnvironment knows.
const (
	AuthAuto            = "auto"             // the first of the following whose variables are set, else az
	AuthCommand         = "command"          // REDOUBT_TOKEN_COMMAND: program and arguments, separated by spaces; see TokenCommand
	AuthClientSecret    = "client-secret"    // AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
	AuthPassword        = "password"         // AZURE_USERNAME, AZURE_PASSWORD, AZURE_TENANT_ID
	AuthManagedIdentity = "managed-identity" // IDENTITY_ENDPOINT, IDENTITY_HEADER, AZURE_CLIENT_ID
	AuthAzureCLI        = "az"               // az account get-access-token
)

// FromEnvironment reads a configuration from environment variables through get, such as os.Getenv:
//
//	AZURE_AUTHORITY_HOST, AZURE_TENANT_ID, AZURE_SUBSCRIPTION_ID, the variables of the ways to sign in,
//	REDOUBT_AUTH              one of the Auth constants
//	REDOUBT_ARM_ENDPOINT      base URL of the control plane
//	REDOUBT_HSM_SUFFIX        domain of the HSMs
//	REDOUBT_STORAGE_SUFFIX    suffix of storage endpoints
//	REDOUBT_GRAPH_ENDPOINT    base URL of Graph
//
// With AuthAuto one way is chosen by what is set; a refused sign-in is an error and does not lead to another
// identity. h may be nil.
func FromEnvironment(get func(string) string, h *http.Client) (Config, error) {
	cred, err := credentialFrom(get, h)
	if err != nil {
		return Config{}, err
	}
	return Config{HTTP: h, Credential: cred, ResourceManager: get("REDOUBT_ARM_ENDPOINT"), Graph: get("REDOUBT_GRAPH_ENDPOINT"), HSMSuffix: get("REDOUBT_HSM_SUFFIX"),
		StorageSuffix: get("REDOUBT_STORAGE_SUFFIX"), Subscription: get("AZURE_SUBSCRIPTION_ID"), Tenant: get("AZURE_TENANT_ID")}, nil
}

func credentialFrom(get func(string) string, h *http.Client) (Credential, error) {
	way := strings.ToLower(get("REDOUBT_AUTH"))
	if way == "" || way == AuthAuto {
		way = chosenWay(get)
	}
	authority := get("AZURE_AUTHORITY_HOST")
	secret := func(name string) func() string { return func() string { return get(name) } }
	need := func(names ...string) error {
		for _, n := range names {
			if get(n) == "" {
				return fmt.Errorf("%w: sign-in by %s needs the variable %s", ErrNoCredential, way, n)
			}
		}
		return nil
	}
	switch way {
	case AuthCommand:
		return NewCached(TokenCommand{strings.Fields(get("REDOUBT_TOKEN_COMMAND"))}), need("REDOUBT_TOKEN_COMMAND")
	case AuthClientSecret:
		return NewCached(ClientSecret{HTTP: h, Authority: authority, Tenant: get("AZURE_TENANT_ID"), ClientID: get("AZURE_CLIENT_ID"), Secret: secret("AZURE_CLIENT_SECRET")}),
			need("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
	case AuthPassword:
		return NewCached(UserPassword{HTTP: h, Authority: authority, Tenant: get("AZURE_TENANT_ID"), Username: get("AZURE_USERNAME"), Password: secret("AZURE_PASSWORD")}),
			need("AZURE_USERNAME", "AZURE_PASSWORD")
	case AuthManagedIdentity:
		m := ManagedIdentity{HTTP: h, Endpoint: get("IDENTITY_ENDPOINT"), Header: secret("IDENTITY_HEADER")}
		if get("AZURE_CLIENT_SECRET") == "" { // else the client id is a service principal's
			m.ClientID = get("AZURE_CLIENT_ID")
		}
		return NewCached(m), need("IDENTITY_ENDPOINT", "IDENTITY_HEADER")
	case AuthAzureCLI:
		return NewCached(AzureCLI{}), nil
	}
	return nil, fmt.Errorf("%w: %q is not a way to sign in; use %s, %s, %s, %s, %s or %s", ErrNoCredential, way,
		AuthAuto, AuthCommand, AuthClientSecret, AuthPassword, AuthManagedIdentity, AuthAzureCLI)
}

func chosenWay(get func(string) string) string {
	switch {
	case get("REDOUBT_TOKEN_COMMAND") != "":
		return AuthCommand
	case get("AZURE_CLIENT_ID") != "" && get("AZURE_CLIENT_SECRET") != "":
		return AuthClientSecret
	case get("AZURE_USERNAME") != "" && get("AZURE_PASSWORD") != "":
		return AuthPassword
	case get("IDENTITY_ENDPOINT") != "" && get("IDENTITY_HEADER") != "":
		return AuthManagedIdentity
	}
	return AuthAzureCLI
}
