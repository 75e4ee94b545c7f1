package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"time"

	"redoubt/internal/client"
)

// What the parts of the programs need that administer an HSM: an Administrator, somebody to give roles to, storage.

const (
	administrator = "Managed HSM Administrator"
	backupAccount = "compatbackup"
)

// administration is what furnishAdministration made.
type administration struct {
	administrator client.ManagedIdentityResource // Administrator at / of every program's HSM
	guest         client.ManagedIdentityResource // has no role
	attached      client.ManagedIdentityResource // to every HSM, for its backups
	key           []byte                         // of the storage account
}

// furnishAdministration makes the identities, the storage account and a container for each program.
func (w *world) furnishAdministration(ctx context.Context, arm *client.Client, me client.User) (err error) {
	a := &w.admin
	for name, id := range map[string]*client.ManagedIdentityResource{"administrator": &a.administrator, "guest": &a.guest, "attached": &a.attached} {
		if *id, err = arm.PutManagedIdentity(ctx, group, name, region); err != nil {
			return err
		}
	}
	account, err := arm.PutStorageAccount(ctx, group, backupAccount, region)
	if err != nil {
		return err
	}
	for id, kind := range map[string]string{me.ID: "User", a.attached.PrincipalID: "ServicePrincipal"} {
		if _, err := arm.AssignRole(ctx, account.ID, client.StorageBlobDataContributor, id, kind); err != nil {
			return err
		}
	}
	keys, err := arm.StorageKeys(ctx, group, backupAccount)
	if err != nil {
		return err
	}
	if a.key, err = base64.StdEncoding.DecodeString(keys[0]); err != nil {
		return errors.New("the key of the storage account is not base64")
	}
	for _, p := range w.programs {
		if err := arm.CreateContainer(ctx, backupAccount, hsmName(p)); err != nil {
			return err
		}
	}
	return nil
}

// administrationEnv is what a program is told of it.
func (w *world) administrationEnv(program string) []string {
	a := &w.admin
	return []string{
		"REDOUBT_ADMINISTRATOR_CLIENT_ID=" + a.administrator.ClientID, "REDOUBT_GUEST_CLIENT_ID=" + a.guest.ClientID, "REDOUBT_GUEST_OBJECT_ID=" + a.guest.PrincipalID,
		"REDOUBT_STORAGE_URL=https://" + backupAccount + ".blob.core.windows.net/" + hsmName(program), "REDOUBT_STORAGE_SAS=" + a.sas(hsmName(program), time.Now()),
	}
}

// sas is a service SAS for everything that a backup or a restore does in a container, for a day (learn.microsoft.com,
// "Create a service SAS", version 2020-12-06).
func (a *administration) sas(container string, now time.Time) string {
	const version, permissions = "2022-11-02", "rcdwl"
	expiry := now.Add(24 * time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte(strings.Join([]string{permissions, "", expiry, "/blob/" + backupAccount + "/" + container, "", "", "https", version, "c", "", "", "", "", "", "", ""}, "\n")))
	return url.Values{"sv": {version}, "sr": {"c"}, "sp": {permissions}, "se": {expiry}, "spr": {"https"},
		"sig": {base64.StdEncoding.EncodeToString(mac.Sum(nil))}}.Encode()
}
