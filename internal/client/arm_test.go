package client_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"redoubt/internal/client"
)

const hsmDocument = `{"id":"/subscriptions/sub/resourceGroups/RG/providers/Microsoft.KeyVault/managedHSMs/Contoso","name":"Contoso","location":"westus3",
"identity":{"type":"UserAssigned","userAssignedIdentities":{"/id/one":{}}},
"properties":{"hsmUri":"https://contoso.managedhsm.azure.net/","provisioningState":"Succeeded","securityDomainProperties":{"activationStatus":"NotActivated","activationStatusMessage":"download it"}}}`

func TestCreateHSM(t *testing.T) {
	t.Parallel()
	c, cred := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "PUT" || r.URL.Path != "/subscriptions/sub/resourceGroups/RG/providers/Microsoft.KeyVault/managedHSMs/Contoso" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		var b struct {
			Location   string `json:"location"`
			Properties struct {
				Tenant string   `json:"tenantId"`
				Admins []string `json:"initialAdminObjectIds"`
				Days   int      `json:"softDeleteRetentionInDays"`
			} `json:"properties"`
		}
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || b.Location != "westus3" || b.Properties.Tenant != "tenant" || len(b.Properties.Admins) != 1 || b.Properties.Days != 28 {
			t.Errorf("body %+v, %v", b, err)
		}
		answer(w, 200, hsmDocument)
	})
	m, err := c.CreateHSM(t.Context(), "RG", "Contoso", client.CreateHSM{Location: "westus3", Administrators: []string{"oid"}, RetentionDays: 28})
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "Contoso" || m.URI != "https://contoso.managedhsm.azure.net" || m.Activation != "NotActivated" || m.ResourceGroup() != "RG" || len(m.Identities) != 1 {
		t.Errorf("%+v", m)
	}
	if b, err := json.Marshal(m); err != nil || !strings.Contains(string(b), `"hsmUri"`) {
		t.Errorf("the document is not kept: %s, %v", b, err)
	}
	if len(cred.asked) != 1 || cred.asked[0] != "https://management.azure.com" {
		t.Errorf("tokens for %v", cred.asked)
	}
}

func TestPurgeFollowsLocation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		c, _ := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				w.Header().Set("Location", "https://management.azure.com/subscriptions/sub/results/1?api-version=x")
				w.WriteHeader(http.StatusAccepted)
				return
			}
			if looks++; looks < 3 {
				w.Header().Set("Location", "https://management.azure.com/subscriptions/sub/results/1?api-version=x")
				w.WriteHeader(http.StatusAccepted)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
		if err := c.PurgeHSM(t.Context(), "westus3", "Contoso"); err != nil || looks != 3 {
			t.Errorf("%v after %d looks", err, looks)
		}
	})
}

func TestFindHSM(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"value":[`+hsmDocument+`]}`) })
	if m, err := c.FindHSM(t.Context(), "CONTOSO"); err != nil || m.Name != "Contoso" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := c.FindHSM(t.Context(), "other"); !client.IsNotFound(err) {
		t.Errorf("error %v", err)
	}
}

func TestOnlySubscription(t *testing.T) {
	t.Parallel()
	two := false
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/subscriptions" && two:
			answer(w, 200, `{"value":[{"subscriptionId":"s1"},{"subscriptionId":"s2"}]}`)
		case r.URL.Path == "/subscriptions":
			answer(w, 200, `{"value":[{"subscriptionId":"s1","tenantId":"t1"}]}`)
		default:
			if !strings.HasPrefix(r.URL.Path, "/subscriptions/s1/") {
				t.Errorf("path %s", r.URL.Path)
			}
			answer(w, 200, `{"value":[]}`)
		}
	})
	for _, two = range []bool{false, true} {
		c, err := client.New(client.Config{HTTP: &http.Client{Transport: wire{h}}, Credential: &tokens{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.ListHSMs(t.Context(), ""); (err != nil) != two {
			t.Errorf("two=%v: %v", two, err)
		}
	}
}

func TestStorageKeysAndContainer(t *testing.T) {
	t.Parallel()
	c, cred := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/listKeys"):
			answer(w, 200, `{"keys":[{"keyName":"key1","value":"a2V5"}]}`)
		case r.Host == "acct.blob.core.windows.net" && r.Method == "PUT" && r.URL.Query().Get("restype") == "container":
			w.Header().Set("x-ms-error-code", "ContainerAlreadyExists")
			answer(w, 409, "<?xml version=\"1.0\"?>")
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	})
	if k, err := c.StorageKeys(t.Context(), "rg", "acct"); err != nil || len(k) != 1 || k[0] != "a2V5" {
		t.Errorf("%v, %v", k, err)
	}
	if err := c.CreateContainer(t.Context(), "acct", "backups"); err != nil {
		t.Error(err)
	}
	if last := cred.asked[len(cred.asked)-1]; last != "https://storage.azure.com" {
		t.Errorf("container token for %s", last)
	}
}
