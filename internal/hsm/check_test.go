package hsm

import (
	"strings"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/store"
)

func TestCheckAcceptsEveryHealthyState(t *testing.T) {
	t.Parallel()
	newProvisionedHSM(t).check()
	r := newTestHSM(t)
	r.check()
	r.create("ec", ecSpec)
	r.create("rsa", rsaSpec)
	r.create("rsa", octSpec)
	r.create("gone", octSpec)
	noErr(t, second(r.DeleteKey(t.Context(), user, "gone")))
	noErr(t, second(r.UpdateSetting(t.Context(), admin, SettingARMKeys, "true")))
	noErr(t, second(r.PutDefinition(t.Context(), admin, rbac.ScopeRoot, rbac.Definition{ID: rbac.DefinitionID(newGUID())})))
	r.check()
	r.restart()
	r.check()
}

// One damage at a time, each done behind the device's back, must be found and named.
func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	type damage struct {
		do   func(d *damaged)
		want string
	}
	for name, tc := range map[string]damage{
		"flipped bit in a head":       {func(d *damaged) { d.flip(headName("k")) }, "h/k"},
		"flipped bit in a version":    {func(d *damaged) { d.flip(versionName(d.inc, d.old)) }, "version"},
		"flipped bit in material":     {func(d *damaged) { d.flip(materialName(d.inc, d.old)) }, "material"},
		"flipped bit in a setting":    {func(d *damaged) { d.flip(settingName(SettingARMKeys)) }, "st/"},
		"truncated record":            {func(d *damaged) { d.write(headName("k"), []byte("RDR1")) }, "too short"},
		"no material":                 {func(d *damaged) { d.remove(materialName(d.inc, d.old)) }, "is missing"},
		"material without a version":  {func(d *damaged) { d.remove(versionName(d.inc, d.old)) }, "counts 2 versions; there are 1, and the material of 2"},
		"no current version":          {func(d *damaged) { d.remove(versionName(d.inc, d.current)) }, "counts 2 versions"},
		"no head":                     {func(d *damaged) { d.remove(headName("k")) }, "no head and no note"},
		"record in another's place":   {func(d *damaged) { d.write(headName("other"), d.read(headName("k"))) }, "h/other"},
		"versions swapped":            {func(d *damaged) { d.write(versionName(d.inc, d.old), d.read(versionName(d.inc, d.current))) }, "version"},
		"unknown content":             {func(d *damaged) { d.write("zz/x", []byte("x")) }, "unknown record"},
		"unknown local record":        {func(d *damaged) { d.writeLocal("l/zz", "x") }, "unknown record"},
		"damaged outbox":              {func(d *damaged) { d.writeLocal("l/out/99999999999999999999-x", "{") }, "audit outbox record"},
		"damaged job":                 {func(d *damaged) { d.writeLocal("l/job/x", "x") }, "job x"},
		"exchange key nobody awaits":  {func(d *damaged) { d.writeLocal("l/xk", "x") }, "exchange key"},
		"content of another time":     {func(d *damaged) { d.writeLocal("g/other/h/k", "x") }, "generation other is left over"},
		"swept and alive":             {func(d *damaged) { d.writeLocal("l/sweep/k/"+string(d.inc), d.v.dev.Generation) }, "to be swept and has a head"},
		"head counts wrong":           {func(d *damaged) { h := d.head; h.Versions = 3; d.seal(headName("k"), h) }, "counts 3 versions; there are 2"},
		"head shows other attributes": {func(d *damaged) { h := d.head; h.Meta.Attributes.Enabled = false; d.seal(headName("k"), h) }, "differs from what the head"},
		"head of another key":         {func(d *damaged) { h := d.head; h.Meta.Name = "other"; d.seal(headName("k"), h) }, "is the head of key other"},
		"live and deleted": {func(d *damaged) {
			h := d.head
			h.Incarnation, h.Deletion = "other", &key.Deletion{DeletedAt: 1, PurgeAt: 2}
			d.seal(deletedName("k"), h)
		}, "key k is under d/ and under h/"},
		"live head with deletion date": {func(d *damaged) { h := d.head; h.Deletion = &key.Deletion{}; d.seal(headName("k"), h) }, "live heads have no deletion date"},
		"two heads, one incarnation":   {func(d *damaged) { h := d.head; h.Meta.Name = "z"; d.seal(headName("z"), h) }, "have the same incarnation"},
		"unknown field": {func(d *damaged) {
			d.seal(versionName(d.inc, d.old), struct {
				key.Meta
				Extra int `json:"extra"`
			}{d.head.Meta, 1})
		}, "does not parse"},
		"public part of another key": {func(d *damaged) {
			m := d.oldMeta
			m.Public = d.head.Meta.Public
			d.seal(versionName(d.inc, d.old), m)
		}, "is not the private half"},
		"type that is none": {func(d *damaged) {
			m := d.oldMeta
			m.Spec.Bits = 7
			d.seal(versionName(d.inc, d.old), m)
		}, "no valid key type"},
		"no administrator": {func(d *damaged) {
			for _, n := range d.r.contentNames("ra/") {
				d.remove(n)
			}
		}, "no Administrator"},
		"assignment under another id": {func(d *damaged) {
			d.seal(assignmentName(newGUID()), rbac.Assignment{ID: newGUID(), Scope: "/", Principal: userID})
		}, "says that it is role assignment"},
		"assignment at no scope": {func(d *damaged) {
			id := newGUID()
			d.seal(assignmentName(id), rbac.Assignment{ID: id, Scope: "/nowhere", Principal: userID})
		}, "is no scope"},
		"built-in role stored":    {func(d *damaged) { d.seal(definitionName(rbac.CryptoUser), rbac.Definition{ID: rbac.CryptoUser}) }, "built-in roles are not stored"},
		"role of unknown actions": {func(d *damaged) { d.seal(definitionName("x"), rbac.Definition{ID: "x", DataActions: []string{"fly"}}) }, "roles do not compile"},
		"unknown setting":         {func(d *damaged) { d.seal(settingName("Other"), Setting{Name: "Other", Value: "true", Type: "boolean"}) }, "no setting of this HSM"},
		"no device record":        {func(d *damaged) { d.writeLocal("dev", "") }, "device record"},
		"device of another HSM":   {func(d *damaged) { d.device(func(v *device) { v.ID = newGUID() }) }, "is that of HSM"},
		"state that is none":      {func(d *damaged) { d.device(func(v *device) { v.State = Sealed }) }, "has state"},
		"another domain":          {func(d *damaged) { d.device(func(v *device) { v.DomainID = "sd-0" }) }, "the device says security domain"},
		"restoring without a job": {func(d *damaged) { d.device(func(v *device) { v.State = Restoring }) }, "without a job"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDamaged(t)
			tc.do(d)
			err := d.r.Check(t.Context())
			wantErr(t, "check", err, ErrCorrupt)
			if err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v\nwant it to say %q", err, tc.want)
			}
		})
	}
}

// damaged is a healthy device with the means to damage it.
type damaged struct {
	r            *testHSM
	v            *view
	head         head
	inc          key.IncarnationID
	old, current key.Version
	oldMeta      key.Meta
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	r := newTestHSM(t)
	oldMeta := r.create("k", ecSpec).Meta
	r.create("k", ecSpec)
	noErr(t, second(r.UpdateSetting(t.Context(), admin, SettingARMKeys, "true")))
	v := r.view()
	hd, _, err := v.loadHead(t.Context(), "k")
	noErr(t, err)
	return &damaged{r: r, v: v, head: hd, inc: hd.Incarnation, old: oldMeta.Version, current: hd.Meta.Version, oldMeta: oldMeta}
}

func (d *damaged) txn(op store.Op) {
	d.r.t.Helper()
	_, err := d.r.below.Txn(d.r.t.Context(), nil, []store.Op{op})
	noErr(d.r.t, err)
}

func (d *damaged) read(logical string) []byte {
	d.r.t.Helper()
	kv, _, err := d.r.below.Get(d.r.t.Context(), d.v.contentKey(logical))
	noErr(d.r.t, err)
	return append([]byte(nil), kv.Val...)
}

func (d *damaged) write(logical string, b []byte) { d.txn(store.Put(d.v.contentKey(logical), b)) }
func (d *damaged) writeLocal(path, val string)    { d.txn(store.Put(d.r.at(path), []byte(val))) }
func (d *damaged) remove(logical string)          { d.txn(d.v.drop(logical)) }
func (d *damaged) seal(logical string, record any) {
	d.txn(d.v.put(logical, stamp{version: 9}, record))
}
func (d *damaged) device(change func(*device)) {
	dev := d.v.dev
	change(&dev)
	d.txn(store.Put(d.r.deviceKey(), dev.encode()))
}

func (d *damaged) flip(logical string) {
	b := d.read(logical)
	b[seal.Overhead] ^= 1
	d.write(logical, b)
}

func TestCheckReportsABoundedNumber(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.fillWithHeads(300)
	err := r.Check(t.Context())
	wantErr(t, "check", err, ErrCorrupt)
	if err != nil && (strings.Count(err.Error(), "\n") > maxProblems || !strings.HasSuffix(err.Error(), "and more")) {
		t.Errorf("%v", err)
	}
}
