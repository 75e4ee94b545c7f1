package arm

import (
	"cmp"
	"strings"

	"redoubt/internal/api/azhttp"
)

type authentication struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant"`
	IdentityProvider string   `json:"identityProvider"`
}

type suffixes struct {
	MHSM     string `json:"mhsmDns"`
	KeyVault string `json:"keyVaultDns"`
	Storage  string `json:"storage"`
	ACR      string `json:"acrLoginServer"`
	SQL      string `json:"sqlServerHostname"`
}

// cloudMetadata describes this cloud to a client that registers it. Services that do not exist here are
// given addresses below the resource manager, where every request is answered with a clear 404.
type cloudMetadata struct {
	Name                     string         `json:"name"`
	Authentication           authentication `json:"authentication"`
	ResourceManager          string         `json:"resourceManager"`
	Graph                    string         `json:"graph"`
	GraphAudience            string         `json:"graphAudience"`
	MicrosoftGraphResourceID string         `json:"microsoftGraphResourceId"`
	Portal                   string         `json:"portal"`
	Gallery                  string         `json:"gallery"`
	Batch                    string         `json:"batch"`
	Media                    string         `json:"media"`
	SQLManagement            string         `json:"sqlManagement"`
	VMImageAliasDoc          string         `json:"vmImageAliasDoc"`
	ActiveDirectoryDataLake  string         `json:"activeDirectoryDataLake"`
	Suffixes                 suffixes       `json:"suffixes"`
}

// metadata answers GET /metadata/endpoints. Its tenant is "common", as Azure's is: azurerm takes a cloud with any
// other for an Azure Stack, which it refuses. There is one object from api-version 2022-09-01 on, a list of them for
// 2019-05-01, and the old small shape before that.
func metadata(e Endpoints, version string) (azhttp.Reply, error) {
	login := e.Login
	if e.ADFS {
		login += "/adfs"
	}
	m := cloudMetadata{Name: e.CloudName, ResourceManager: e.ResourceManager, Graph: e.Graph, GraphAudience: e.Graph, MicrosoftGraphResourceID: e.Graph,
		Authentication: authentication{LoginEndpoint: login, Audiences: []string{e.ResourceManager}, Tenant: "common", IdentityProvider: "AAD"},
		Portal:         e.ResourceManager + "/portal", Gallery: e.ResourceManager + "/gallery", Batch: e.ResourceManager + "/batch", Media: e.ResourceManager + "/media",
		SQLManagement: e.ResourceManager + "/sql", VMImageAliasDoc: e.ResourceManager + "/aliases.json", ActiveDirectoryDataLake: e.ResourceManager + "/datalake",
		Suffixes: suffixes{MHSM: e.DeviceSuffix, KeyVault: cmp.Or(e.VaultSuffix, "vault."+e.DeviceSuffix), Storage: e.StorageSuffix, ACR: "azurecr." + e.StorageSuffix, SQL: "database." + e.StorageSuffix}}
	switch {
	case strings.HasPrefix(version, "2015"):
		return azhttp.OK(map[string]any{"galleryEndpoint": m.Gallery, "graphEndpoint": m.Graph, "portalEndpoint": m.Portal,
			"authentication": map[string]any{"loginEndpoint": login, "audiences": m.Authentication.Audiences}})
	case strings.HasPrefix(version, "2019"):
		return azhttp.OK([]cloudMetadata{m})
	}
	return azhttp.OK(m)
}
