package hsmtest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/rbac"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
)

// Object ids of the people in tests. Admin is Administrator of every HSM from the start; Active gives the
// others the roles they are named for, and Stranger none.
const (
	Admin    = "11111111-1111-4111-8111-111111111111"
	User     = "22222222-2222-4222-8222-222222222222" // Crypto User
	Officer  = "33333333-3333-4333-8333-333333333333" // Crypto Officer
	Auditor  = "44444444-4444-4444-8444-444444444444" // Crypto Auditor
	Stranger = "99999999-9999-4999-8999-999999999999"
)

// Resource is a managed HSM as Create takes it.
func (s *Site) Resource(name string) fleet.Resource {
	return fleet.Resource{Name: name, Subscription: s.Account.Subscription.ID, ResourceGroup: "ContosoResourceGroup", Location: "westus3", SKUName: "Standard_B1",
		SKUFamily: "B", Tenant: s.Account.Tenant.ID, Admins: []string{Admin}, RetentionDays: 28, PublicAccess: "Enabled"}
}

// Provisioned makes an HSM that was not activated yet.
func (s *Site) Provisioned(name string) *hsm.HSM {
	s.T.Helper()
	if _, err := s.Create(s.T.Context(), s.Resource(name)); err != nil {
		s.T.Fatal(err)
	}
	return s.HSM(name)
}

// HSM is the open device of a live HSM.
func (s *Site) HSM(name string) *hsm.HSM {
	s.T.Helper()
	d, _, err := s.Device(name)
	if err != nil {
		s.T.Fatalf("HSM %s: %v", name, err)
	}
	return d
}

// Active makes an activated HSM and gives the people their roles.
func (s *Site) Active(name string) *hsm.HSM {
	s.T.Helper()
	d := s.Provisioned(name)
	s.Activate(d)
	for who, role := range map[string]rbac.DefinitionID{User: rbac.CryptoUser, Officer: rbac.CryptoOfficer, Auditor: rbac.CryptoAuditor} {
		if _, err := d.PutAssignment(s.T.Context(), Caller(Admin), rbac.ScopeRoot, NewGUID(), who, role); err != nil {
			s.T.Fatal(err)
		}
	}
	return d
}

// Activate takes the HSM's security domain and returns it.
func (s *Site) Activate(d *hsm.HSM) []byte {
	s.T.Helper()
	file, err := d.DownloadDomain(s.T.Context(), Caller(Admin), DownloadRequest(s.T, Holders(3), 2))
	if err != nil {
		s.T.Fatal(err)
	}
	if st, err := d.DownloadStatus(s.T.Context(), Caller(Admin)); err != nil || st.Status != "Success" {
		s.T.Fatalf("poll after download: %+v, %v", st, err)
	}
	return file
}

// Caller is a call by that principal.
func Caller(id string) hsm.Caller {
	return hsm.Caller{Principal: rbac.Principal{ID: id}, RequestID: NewGUID(), IP: "127.0.0.1", Client: "test"}
}

var (
	holdersMu sync.Mutex
	holders   []securitydomain.WrappingKey
)

// Holders are n key holders with RSA-2048 keys, the same for all tests of the process.
func Holders(n int) []securitydomain.WrappingKey {
	holdersMu.Lock()
	defer holdersMu.Unlock()
	made := make([]securitydomain.WrappingKey, max(0, n-len(holders)))
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() { made[i] = newHolder(fmt.Sprintf("holder %d", len(holders)+i)) })
	}
	wg.Wait()
	holders = append(holders, made...)
	return holders[:n:n]
}

func newHolder(name string) securitydomain.WrappingKey {
	cert, key, err := securitydomain.NewWrappingKeyPair(name, 2048, 1, 253402300799)
	if err == nil {
		var k securitydomain.WrappingKey
		if k, err = securitydomain.ParseWrappingKey(name, cert, key.Expose(), secret.Bytes{}); err == nil {
			return k
		}
	}
	panic(err)
}

// DownloadRequest is the body of a security domain download for these holders.
func DownloadRequest(t testing.TB, keys []securitydomain.WrappingKey, required int) []byte {
	t.Helper()
	var certs []securitydomain.Certificate
	for _, k := range keys {
		certs = append(certs, k.Certificate)
	}
	body, err := securitydomain.EncodeDownloadRequest(certs, required)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// RestoreBlob is the offline step of a recovery: two holders open the file and encrypt it to the exchange
// key, a JWK or PEM text.
func RestoreBlob(t testing.TB, file, exchangeKey []byte) []byte {
	t.Helper()
	cert, err := securitydomain.ParseExchangeCertificate(exchangeKey)
	if err != nil {
		t.Fatal(err)
	}
	data, err := securitydomain.Open(file, Holders(3)[1:])
	if err != nil {
		t.Fatal(err)
	}
	blob, err := securitydomain.Reencrypt(data, cert)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// Wait polls a job until it ends.
func (s *Site) Wait(poll func(ctx context.Context, who hsm.Caller, id string) (hsm.Job, error), id string) hsm.Job {
	s.T.Helper()
	for {
		j, err := poll(s.T.Context(), Caller(Admin), id)
		if err != nil {
			s.T.Fatal(err)
		}
		if j.Status != hsm.JobInProgress {
			return j
		}
	}
}
