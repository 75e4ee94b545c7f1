package dataplane_test

import (
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// TestKeyBackup: a key goes out and comes back with its versions, and each refusal has the service's code.
func TestKeyBackup(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	s.Active("other")
	w := s.Serve()
	c, officer := as(w, hsmtest.User), as(w, hsmtest.Officer)
	c.do("POST /keys/ec/create", `{"kty":"EC","crv":"P-256"}`).Want(200)
	made := c.do("POST /keys/ec/create", `{"kty":"EC","crv":"P-256"}`).Want(200)
	versions := c.do("GET /keys/ec/versions", nil).Want(200)
	var backup struct{ Value string }
	c.do("POST /keys/EC/backup", nil).Want(200).JSON(&backup)
	c.do("POST /keys/none/backup", nil).WantError(404, "KeyNotFound", "")
	restore := map[string]string{"value": backup.Value}
	c.do("POST /keys/restore", restore).WantError(409, "Conflict", "", "Key ec exists")
	c.do("DELETE /keys/ec", nil).Want(200)
	c.do("POST /keys/ec/backup", nil).WantError(404, "KeyNotFound", "", "list-deleted")
	c.do("POST /keys/restore", restore).WantError(409, "Conflict", "ObjectIsDeletedButRecoverable", "purge")
	officer.do("DELETE /deletedkeys/ec", nil).Want(204)

	as(w, hsmtest.Officer).do("POST /keys/restore", restore).WantError(403, "AccessDenied", "", "keys/restore/action on /keys")
	back := c.do("POST /keys/Restore?"+version, restore).Want(200)
	same(t, back, ecKey)
	if string(back.Body) != string(made.Body) {
		t.Errorf("came back as %s, was %s", back.Body, made.Body)
	}
	if again := c.do("GET /keys/ec/versions", nil).Want(200); string(again.Body) != string(versions.Body) {
		t.Errorf("versions came back as %s, were %s", again.Body, versions.Body)
	}

	for what, body := range map[string]string{
		"no value": `{}`, "null": `{"value":null}`, "empty": `{"value":""}`, "not base64url": `{"value":"a+b="}`, "number": `{"value":1}`,
		"not a backup": `{"value":"aGVsbG8"}`, "cut": `{"value":"` + backup.Value[:400] + `"}`, "altered": `{"value":"` + backup.Value[:len(backup.Value)-4] + `AAAA"}`,
		"twice": `{"value":"` + backup.Value + `","value":""}`, "large": `{"value":"` + strings.Repeat("A", 1<<21) + `"}`,
	} {
		a := c.do("POST /keys/restore", body)
		if a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
			continue
		}
		a.WantError(400, "BadParameter", "")
	}
	c.do("POST /keys/restore", `{"value":"`+strings.Repeat("A", 1<<25)+`"}`).WantError(413, "RequestBodyTooLarge", "")
}
