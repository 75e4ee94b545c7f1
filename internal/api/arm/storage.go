package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/cloud"
)

const (
	accountType = "Microsoft.Storage/storageAccounts"
	accountPath = "subscriptions/{sub}/resourceGroups/{rg}/providers/" + accountType + "/{name}"
)

var storageRoutes = []route{
	{"POST", "subscriptions/{sub}/providers/Microsoft.Storage/checkNameAvailability", "", checkAccountName},
	{"PUT", accountPath, accountType + "/write", putAccount},
	{"PATCH", accountPath, accountType + "/write", putAccount},
	{"GET", accountPath, accountType + "/read", getAccount},
	{"DELETE", accountPath, accountType + "/delete", deleteAccount},
	{"GET", "subscriptions/{sub}/resourceGroups/{rg}/providers/" + accountType, accountType + "/read", listAccounts},
	{"GET", "subscriptions/{sub}/providers/" + accountType, accountType + "/read", listAccounts},
	{"POST", accountPath + "/listKeys", accountType + "/listKeys/action", listKeys},
	{"POST", accountPath + "/regenerateKey", accountType + "/regenerateKey/action", regenerateKey},
}

func (q *request) wireAccount(a cloud.StorageAccount) map[string]any {
	tags := a.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{"id": a.ID(), "name": a.Name, "type": accountType, "location": a.Location, "kind": a.Kind, "tags": tags,
		"sku": map[string]string{"name": a.SKU, "tier": "Standard"},
		"properties": map[string]any{"provisioningState": "Succeeded", "primaryLocation": a.Location, "statusOfPrimary": "available", "supportsHttpsTrafficOnly": true,
			"primaryEndpoints": map[string]string{"blob": fmt.Sprintf("https://%s.blob.%s/", strings.ToLower(a.Name), q.endpoints().StorageSuffix)}}}
}

func checkAccountName(q *request) (azhttp.Reply, error) {
	var body struct {
		Name string `json:"name"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if !cloud.ValidStorageAccountName(body.Name) {
		return azhttp.OK(map[string]any{"nameAvailable": false, "reason": "AccountNameInvalid", "message": body.Name + " is not a valid storage account name: 3 to 24 lower-case letters and digits."})
	}
	if _, err := q.h.cfg.Cloud.StorageAccount(q.Context(), body.Name); err == nil {
		return azhttp.OK(map[string]any{"nameAvailable": false, "reason": "AlreadyExists", "message": "The storage account named " + body.Name + " is already taken."})
	}
	return azhttp.OK(map[string]any{"nameAvailable": true})
}

func putAccount(q *request) (azhttp.Reply, error) {
	var body struct {
		Location string            `json:"location"`
		Kind     string            `json:"kind"`
		Tags     map[string]string `json:"tags"`
		SKU      struct {
			Name string `json:"name"`
		} `json:"sku"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	a, _, err := q.h.cfg.Cloud.PutStorageAccount(q.Context(), cloud.StorageAccount{Subscription: q.Param("sub"), ResourceGroup: q.Param("rg"), Name: q.Param("name"),
		Location: body.Location, Kind: body.Kind, SKU: body.SKU.Name, Tags: body.Tags})
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(q.wireAccount(a))
}

// account finds the account that the path names, in that group.
func (q *request) account() (cloud.StorageAccount, error) {
	a, err := q.h.cfg.Cloud.StorageAccount(q.Context(), q.Param("name"))
	if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return cloud.StorageAccount{}, err
	}
	if err != nil || !cloud.SameName(a.ResourceGroup, q.Param("rg")) || !cloud.SameName(a.Subscription, q.Param("sub")) {
		return cloud.StorageAccount{}, &azhttp.Problem{Status: http.StatusNotFound, Code: "ResourceNotFound", Message: fmt.Sprintf(
			"The Resource '%s/%s' under resource group '%s' was not found.", accountType, q.Param("name"), q.Param("rg"))}
	}
	return a, nil
}

func getAccount(q *request) (azhttp.Reply, error) {
	a, err := q.account()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(q.wireAccount(a))
}

func deleteAccount(q *request) (azhttp.Reply, error) {
	a, err := q.account()
	var absent *azhttp.Problem
	switch {
	case errors.As(err, &absent):
		return azhttp.Reply{Status: http.StatusNoContent}, nil
	case err != nil:
		return azhttp.Reply{}, err
	}
	return azhttp.Reply{}, q.removeAccount(a)
}

// removeAccount deletes an account after what it holds: a new account of that name must not find it. Once
// begun it is carried through, even if the client goes away.
func (q *request) removeAccount(a cloud.StorageAccount) error {
	if err := q.h.cfg.RemoveBlobs(strings.ToLower(a.Name)); err != nil {
		return fmt.Errorf("delete the blobs of %s: %w", a.Name, err)
	}
	return q.h.cfg.Cloud.DeleteStorageAccount(context.WithoutCancel(q.Context()), a.Name)
}

func listAccounts(q *request) (azhttp.Reply, error) {
	all, err := q.h.cfg.Cloud.StorageAccounts(q.Context(), q.Param("sub"), q.Param("rg"))
	var out []map[string]any
	for _, a := range all {
		out = append(out, q.wireAccount(a))
	}
	return values(out), err
}

func keysReply(a cloud.StorageAccount) (azhttp.Reply, error) {
	var out []map[string]string
	for _, k := range a.Keys {
		out = append(out, map[string]string{"keyName": k.Name, "value": k.Value, "permissions": "FULL"})
	}
	return azhttp.OK(map[string]any{"keys": out})
}

func listKeys(q *request) (azhttp.Reply, error) {
	a, err := q.account()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return keysReply(a)
}

func regenerateKey(q *request) (azhttp.Reply, error) {
	var body struct {
		KeyName string `json:"keyName"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	a, err := q.account()
	if err != nil {
		return azhttp.Reply{}, err
	}
	if a, err = q.h.cfg.Cloud.RegenerateStorageKey(q.Context(), a.Name, body.KeyName); err != nil {
		return azhttp.Reply{}, err
	}
	return keysReply(a)
}
