package drill

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"redoubt/internal/client"
	"redoubt/internal/key"
)

const evidenceFile, sourceInventory, rebuiltInventory = "evidence.jsonl", "inventory-source.jsonl", "inventory-rebuilt.jsonl"

// fill makes the source HSM and everything on it, backs it up and writes down what there is.
func (d *drill) fill(ctx context.Context) error {
	for _, s := range []struct {
		name, title string
		do          func(context.Context, *step) error
	}{
		{"create-source", "create the source HSM", d.createSource},
		{"activate", "make wrapping keys offline and activate by downloading the security domain", d.activate},
		{"roles", "assign roles at /, /keys and on one key", d.assignRoles},
		{"keys", "make keys and use them", d.makeKeys},
		{"check-roles", "check that roles allow and refuse", d.checkSourceRoles},
		{"backup", "full backup with the managed identity", d.backup},
		{"inventory", "take the inventory of the source", d.takeSourceInventory},
		{"later-writes", "write after the backup", d.laterWrites},
	} {
		if err := d.step(s.name, s.title, func(st *step) error { return s.do(ctx, st) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *drill) createSource(ctx context.Context, s *step) (err error) {
	if d.source, d.sourceDev, err = d.createHSM(ctx, sourceName, sourceRegion); err != nil {
		return err
	}
	d.report.Source.ID = d.sourceDev.ID
	d.proveInactive(ctx, d.source)
	s.note("%s in %s", d.source.URL(), sourceRegion)
	return nil
}

// makeKeys makes every key of the plan, uses it, changes it and lets its fate befall it, all before the
// backup. What the uses gave is the evidence.
func (d *drill) makeKeys(ctx context.Context, s *step) error {
	s.expect(versionsOf(d.plan))
	evidence, err := newSpool(d.file(evidenceFile))
	if err != nil {
		return err
	}
	err = each(ctx, all(byCost(d.plan)), func(ctx context.Context, p keyPlan) error {
		r, err := d.makeKey(ctx, s, p)
		if err != nil {
			return fmt.Errorf("key %s: %w", p.name, err)
		}
		return evidence.add(r)
	})
	if err = errors.Join(err, evidence.close()); err != nil {
		return err
	}
	if _, err := d.source.UpdateSetting(ctx, settingName, "true"); err != nil {
		return err
	}
	s.note("%d keys, %d versions; one setting changed", len(d.plan), versionsOf(d.plan))
	return nil
}

// settingName is the setting that the drill changes; all there are are in the inventory.
const settingName = "AllowKeyManagementOperationsThroughARM"

func (d *drill) makeKey(ctx context.Context, s *step, p keyPlan) (r record, err error) {
	r = record{Name: p.name, Spec: p.spec, Fate: p.fate}
	for n := range p.versions {
		k, err := d.makeVersion(ctx, p, n)
		if err != nil {
			return r, err
		}
		v := versionRecord{Version: k.Version(), Public: k.Key, Uses: p.plannedUses(n)}
		for i := range v.Uses {
			if err := v.Uses[i].make(ctx, d.source, p.name, v.Version); err != nil {
				return r, err
			}
		}
		r.Versions = append(r.Versions, v)
		s.add(1)
	}
	if p.changed {
		later := time.Now().AddDate(2, 0, 0).Unix()
		change := client.UpdateKey{Attributes: &client.KeyAttributes{Expires: &later}, Tags: map[string]string{"changed": "yes", "n": strconv.Itoa(p.index)}}
		if _, err := d.source.UpdateKey(ctx, p.name, r.Versions[0].Version, change); err != nil {
			return r, err
		}
	}
	if p.ruled {
		if r.Policy, err = d.source.RotationPolicy(ctx, p.name); err != nil {
			return r, err
		}
	}
	return r, d.befall(ctx, p)
}

// makeVersion makes version n of a key: the first as asked, with the key's rotation policy behind it, the
// others of a key with such a policy by rotating.
func (d *drill) makeVersion(ctx context.Context, p keyPlan, n int) (client.Key, error) {
	if n > 0 && p.ruled {
		return d.source.RotateKey(ctx, p.name)
	}
	k, err := d.source.CreateKey(ctx, p.name, p.request(n))
	if err == nil && p.ruled {
		_, err = d.source.SetRotationPolicy(ctx, p.name, p.policy())
	}
	return k, err
}

// policy is the rotation policy of a key, under which nothing falls due while a drill lasts.
func (p keyPlan) policy() client.RotationPolicy {
	rotate := client.LifetimeAction{Action: client.LifetimeType{Type: key.ActionRotate}, Trigger: client.LifetimeTrigger{AfterCreate: "P18M"}}
	if p.fate == fateNone && p.index%8 == 4 {
		rotate.Trigger = client.LifetimeTrigger{BeforeExpiry: "P1M"}
	}
	return client.RotationPolicy{Actions: []client.LifetimeAction{rotate}, Attributes: client.RotationPolicyAttributes{ExpiryTime: "P2Y"}}
}

// releasePolicy says to whom a key may be released. Each key has its own, some for ever.
func (p keyPlan) releasePolicy() *client.ReleasePolicy {
	return &client.ReleasePolicy{Immutable: p.index%10 == 8,
		Data: fmt.Appendf(nil, `{"version":"1.0.0","anyOf":[{"authority":"https://drill.example","allOf":[{"claim":"key","equals":%q}]}]}`, p.name)}
}

// request is the body that makes version n of a key.
func (p keyPlan) request(n int) client.CreateKey {
	c := client.CreateKey{Kty: string(p.spec.Type), Size: p.spec.Bits, Crv: string(p.spec.Curve), Ops: p.ops()}
	if p.dated {
		from, until := time.Now().Add(-time.Hour).Unix(), time.Now().AddDate(1, 0, n).Unix()
		c.Attributes = &client.KeyAttributes{NotBefore: &from, Expires: &until}
	}
	if p.released && n == 0 { // later versions inherit it
		c.Release = p.releasePolicy()
		if c.Attributes == nil {
			c.Attributes = &client.KeyAttributes{}
		}
		yes := true
		c.Attributes.Exportable = &yes
	}
	if p.tagged {
		c.Tags = map[string]string{"drill": "redoubt", "n": strconv.Itoa(p.index), "version": strconv.Itoa(n), "Überschrift": "Schlüssel für die Übung"}
	}
	return c
}

// befall lets the fate of a key befall it: to all of its versions.
func (d *drill) befall(ctx context.Context, p keyPlan) error {
	switch p.fate {
	case fateDisabled, fateExpired:
		var change client.KeyAttributes
		no, begin, end := false, time.Now().Add(-48*time.Hour).Unix(), time.Now().Add(-24*time.Hour).Unix()
		if p.fate == fateDisabled {
			change.Enabled = &no
		} else {
			change.NotBefore, change.Expires = &begin, &end
		}
		versions, err := d.source.ListKeyVersions(ctx, p.name)
		if err != nil {
			return err
		}
		for _, v := range versions {
			if _, err := d.source.UpdateKey(ctx, p.name, v.Version(), client.UpdateKey{Attributes: &change}); err != nil {
				return err
			}
		}
	case fateDeleted:
		_, err := d.source.DeleteKey(ctx, p.name)
		return err
	case fateNone:
	}
	return nil
}

func (d *drill) backup(ctx context.Context, s *step) error {
	d.backupAt = time.Now()
	folder, err := d.runBackup(ctx, d.source)
	if err != nil {
		return err
	}
	d.report.BackupFolder = folder
	s.note("%s", folder)
	return nil
}

// runBackup takes a full backup and returns its folder.
func (d *drill) runBackup(ctx context.Context, h *client.HSM) (folder string, err error) {
	job, err := h.StartBackup(ctx, d.storage())
	if err != nil {
		return "", err
	}
	if job, err = job.Wait(ctx, nil); err != nil {
		return "", err
	}
	return folderOf(job)
}

func (d *drill) takeSourceInventory(ctx context.Context, s *step) error {
	n, err := takeInventory(ctx, s, d.source, d.file(sourceInventory))
	d.report.Measured.InventoryEntries = n
	s.note("%d entries", n)
	return err
}

// lostWrite is something written after the backup: what it is, and a look whether it is there.
type lostWrite struct {
	what    string
	present func(ctx context.Context, h *client.HSM) (bool, error)
}

// laterWrites makes the recovery point visible: a new key and a changed tag that the backup does not have.
func (d *drill) laterWrites(ctx context.Context, s *step) error {
	const name, tag = "drill-after-backup", "after-backup"
	if _, err := d.source.CreateKey(ctx, name, client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}); err != nil {
		return err
	}
	changed := d.plan[0].name
	k, err := d.source.GetKey(ctx, changed, "")
	if err != nil {
		return err
	}
	tags := map[string]string{tag: "yes"}
	for k, v := range k.Tags {
		tags[k] = v
	}
	if _, err := d.source.UpdateKey(ctx, changed, "", client.UpdateKey{Tags: tags}); err != nil {
		return err
	}
	d.lost = []lostWrite{
		{"the key " + name, func(ctx context.Context, h *client.HSM) (bool, error) {
			_, err := h.GetKey(ctx, name, "")
			if client.IsNotFound(err) {
				return false, nil
			}
			return true, err
		}},
		{"the tag " + tag + " of " + changed, func(ctx context.Context, h *client.HSM) (bool, error) {
			k, err := h.GetKey(ctx, changed, "")
			return k.Tags[tag] != "", err
		}},
	}
	for _, w := range d.lost { // else their absence later would prove nothing
		if there, err := w.present(ctx, d.source); err != nil || !there {
			return fmt.Errorf("%s is not there: %w", w.what, err)
		}
	}
	d.report.Measured.WritesAfterBackup = len(d.lost)
	s.note("a key and a tag: the recovery point is the backup, so both must be gone after the restore")
	return nil
}
