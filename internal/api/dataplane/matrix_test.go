package dataplane_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
	"redoubt/internal/rbac"
)

// The matrix: every operation of hsm.Table, in every state of the device, by every built-in role at every kind of
// scope and by a stranger, and operations about keys in every state of a key. What is answered must be what the
// tables say: the operation table (state, action), the roles, and the samples (what somebody admitted gets).
// docs/matrix.md shows it.

// gone is the state of an HSM whose resource was deleted; the others are hsm.State.
const gone = hsm.Deleted

var matrixStates = []hsm.State{hsm.Provisioned, hsm.Recovering, hsm.Active, hsm.Restoring, hsm.Sealed, hsm.Degraded, gone}

// principal has one role at one kind of scope.
type principal struct {
	id    string
	role  rbac.Definition
	scope string // "/", "/keys", "/keys/{key}", "/keys/other"; empty for the stranger
}

func (p principal) String() string {
	if p.scope == "" {
		return "a stranger"
	}
	return p.role.Name + " at " + p.scope
}

var matrixScopes = []string{"/", "/keys", "/keys/{key}", "/keys/other"}

func matrixPrincipals() []principal {
	out := []principal{{id: hsmtest.Stranger}}
	for i, r := range rbac.BuiltIns() {
		for j, scope := range matrixScopes {
			out = append(out, principal{fmt.Sprintf("5eedc0de-%04d-4000-8000-%012d", i, j), r, scope})
		}
	}
	return out
}

// may tells whether the principal has the action at a scope.
func (p principal) may(t testing.TB, a rbac.Action, scope string) bool {
	t.Helper()
	if p.scope == "" {
		return false
	}
	grants, err := p.role.Grants()
	if err != nil {
		t.Fatal(err)
	}
	return grants.Has(a) && (p.scope == "/" || p.scope == scope || p.scope == "/keys" && strings.HasPrefix(scope, "/keys/"))
}

// notAllowed is the answer in a state that forbids an operation.
var notAllowed = map[hsm.State]answer{
	hsm.Provisioned: {403, "Forbidden", "NotActivated"},
	hsm.Recovering:  {403, "Forbidden", "NotActivated"},
	hsm.Active:      {409, "Conflict", "AlreadyActivated"},
	hsm.Restoring:   {403, "Forbidden", "RestoreInProgress"},
}

// unasked is what everybody is answered in a state in which the device cannot tell who asks.
var unasked = map[hsm.State]answer{
	hsm.Sealed:   {503, "ServiceUnavailable", "Sealed"},
	hsm.Degraded: {503, "ServiceUnavailable", ""},
	gone:         {404, "ResourceNotFound", ""},
}

var accessDenied = answer{403, "AccessDenied", ""}

// expect is what the tables say.
func expect(t testing.TB, row hsm.Row, s sample, st hsm.State, p principal, k keyState) answer {
	t.Helper()
	if a, ok := unasked[st]; ok {
		return a
	}
	switch allowed := slices.Contains(row.States, st); {
	case !allowed && p.scope != "": // whoever has a role learns of the state first
		return notAllowed[st]
	case !p.may(t, row.Action, s.scope):
		return accessDenied
	}
	return s.want(st, k)
}

// aboutKeys tells whether an operation is about one key.
func (s sample) aboutKeys() bool {
	return strings.Contains(s.target+s.body, "{key}") || strings.Contains(s.body, "{backup}")
}

// matrixWorld is an HSM in one state with keys in all states.
type matrixWorld struct {
	*hsmtest.Web
	t       *testing.T
	device  *hsm.HSM
	tokens  map[string]string
	backups map[keyState]string
	content map[string]string
}

func newMatrixWorld(t *testing.T, st hsm.State) *matrixWorld {
	t.Helper()
	s := hsmtest.New(t)
	w := &matrixWorld{t: t, tokens: make(map[string]string), backups: make(map[keyState]string)}
	before := st == hsm.Provisioned || st == hsm.Recovering
	if before { // nobody can make keys or roles there; they are made as if it were activated
		w.device = s.Provisioned(hsmName)
		s.SetState(w.device, hsm.Active)
		for who, role := range map[string]rbac.DefinitionID{hsmtest.User: rbac.CryptoUser, hsmtest.Officer: rbac.CryptoOfficer} {
			w.assign(s, who, role, "/")
		}
	} else {
		w.device = s.Active(hsmName)
	}
	c := as(s.Serve(), hsmtest.User)
	for _, k := range keyStates {
		w.prepare(c, k)
	}
	for _, p := range matrixPrincipals() {
		w.tokens[p.id] = s.Token(p.id, hsmtest.Devices)
		switch p.scope {
		case "":
		case "/keys/{key}":
			for _, k := range keyStates {
				w.assign(s, p.id, p.role.ID, rbac.Scope("/keys/"+k.name()))
			}
		default:
			w.assign(s, p.id, p.role.ID, rbac.Scope(p.scope))
		}
	}
	w.enter(s, st)
	w.Web = s.Serve()
	w.content = s.Content(w.device)
	return w
}

func (w *matrixWorld) assign(s *hsmtest.Site, who string, role rbac.DefinitionID, at rbac.Scope) {
	w.t.Helper()
	if _, err := w.device.PutAssignment(w.t.Context(), hsmtest.Caller(hsmtest.Admin), at, hsmtest.NewGUID(), who, role); err != nil {
		w.t.Fatal(err)
	}
}

// prepare makes the key of a state, and its backup.
func (w *matrixWorld) prepare(c client, k keyState) {
	w.t.Helper()
	now := c.Clock.Now().Unix()
	attributes := map[keyState]string{disabled: `"enabled":false`, notYet: fmt.Sprintf(`"nbf":%d`, now+3600), expired: fmt.Sprintf(`"exp":%d`, now-3600)}[k]
	name := k.name()
	switch {
	case k == wrongType:
		c.do("POST /keys/"+name+"/create", `{"kty":"EC-HSM"}`).Want(200)
	case k == wrongOps: // created: an empty list with an import means the usual operations
		c.do("POST /keys/"+name+"/create", `{"kty":"oct-HSM","key_size":256,"key_ops":[]}`).Want(200)
	default:
		c.do("PUT /keys/"+name, `{"key":{"kty":"oct-HSM","k":"`+matrixKey+`","key_ops":["decrypt","encrypt","unwrapKey","sign","verify","wrapKey"]},"attributes":{`+attributes+`}}`).Want(200)
	}
	c.do("PUT /keys/"+name+"/rotationpolicy", `{"attributes":{"expiryTime":"P2Y"}}`).Want(200)
	w.backups[k], _ = c.do("POST /keys/"+name+"/backup", nil).Want(200).Map()["value"].(string)
	if k == deleted || k == absent {
		c.do("DELETE /keys/"+name, nil).Want(200)
	}
	if k == absent {
		as(c.Web, hsmtest.Officer).do("DELETE /deletedkeys/"+name, nil).Want(204)
	}
}

// enter puts the HSM into its state.
func (w *matrixWorld) enter(s *hsmtest.Site, st hsm.State) {
	w.t.Helper()
	switch st {
	case hsm.Provisioned:
		s.SetState(w.device, hsm.Provisioned)
	case hsm.Recovering:
		s.SetState(w.device, hsm.Provisioned)
		if _, err := w.device.ExchangeKey(w.t.Context(), hsmtest.Caller(hsmtest.Admin)); err != nil {
			w.t.Fatal(err)
		}
	case hsm.Active:
	case hsm.Restoring:
		s.SetState(w.device, hsm.Restoring)
		w.t.Cleanup(func() { s.Faults.Revive(); s.SetState(w.device, hsm.Active) })
	case hsm.Sealed:
		s.Lock(true)
		s.Restart()
		w.t.Cleanup(func() { s.Lock(false); s.Restart() })
	case hsm.Degraded:
		if err := s.Faults.Close(); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(s.Faults.Revive)
	case gone:
		if _, err := s.Delete(w.t.Context(), hsmName); err != nil {
			w.t.Fatal(err)
		}
	}
}

// ask sends the sample as that principal and returns what the tables determine of the answer.
func (w *matrixWorld) ask(s sample, p principal, k keyState) answer {
	w.t.Helper()
	fill := strings.NewReplacer("{key}", k.name(), "{backup}", w.backups[k])
	method, path, _ := strings.Cut(fill.Replace(s.target), " ")
	a := hsmtest.Ask{Method: method, Host: host, Path: path + "?api-version=2026-04-01", Token: w.tokens[p.id]}
	if s.body != "" {
		a.Body = fill.Replace(s.body)
	}
	got := w.Do(a)
	out := answer{status: got.Status}
	if got.Status >= 400 {
		var body struct{ Error hsmtest.Error }
		got.JSON(&body)
		if out.code = body.Error.Code; body.Error.Inner != nil {
			out.inner = body.Error.Inner.Code
		}
	}
	return out
}

// sortedSamples pairs the rows of the table with their samples. A row without one fails the test: whoever adds an
// operation says here how it is asked for.
func sortedSamples(t testing.TB) (rows []hsm.Row, all map[string]sample) {
	t.Helper()
	all = samples(string(hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2)))
	left := maps.Clone(all)
	for _, row := range hsm.Table() {
		if _, there := all[row.Route]; !there {
			t.Errorf("%s (%s) has no sample in matrix_samples_test.go", row.Name, row.Route)
			continue
		}
		rows = append(rows, row)
		delete(left, row.Route)
	}
	for route := range left {
		t.Errorf("there is a sample of %s, which is no operation", route)
	}
	return rows, all
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	rows, all := sortedSamples(t)
	for _, st := range matrixStates {
		t.Run(string(st), func(t *testing.T) {
			t.Parallel()
			w := newMatrixWorld(t, st)
			asked, wrong := 0, 0
			for _, row := range rows {
				s := all[row.Route]
				states := keyStates
				if !s.aboutKeys() || st != hsm.Active {
					states = []keyState{enabled}
				}
				for _, k := range states {
					for _, p := range matrixPrincipals() {
						want, got := expect(t, row, s, st, p, k), w.ask(s, p, k)
						if asked++; got != want && wrong < 20 {
							wrong++
							t.Errorf("%s, key %s, by %s: %s, want %s", row.Route, k, p, got, want)
						}
						if row.Mutates && got.status < 300 {
							w.Reset(w.device, w.content)
						}
					}
				}
				if row.Mutates && !maps.Equal(w.Content(w.device), w.content) {
					t.Errorf("%s: something was written by a request that was refused", row.Route)
					w.Reset(w.device, w.content)
				}
			}
			t.Logf("%d requests", asked)
		})
	}
}
