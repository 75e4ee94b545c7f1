package main

import (
	"strings"
	"time"
)

// bundle is what az prints of a key. Byte strings are base64 with padding, which Go decodes by itself.
type bundle struct {
	Attributes struct {
		Created, Updated      time.Time
		Expires, NotBefore    *time.Time
		Enabled, Exportable   bool
		RecoverableDays       int
		RecoveryLevel         string
		HsmPlatform           string
		DeletedDate           *time.Time
		KeySize               int
		Attestation, External any
	}
	Key struct {
		Kid, Kty, Crv string
		KeyOps        []string
		N, E, X, Y    []byte
		D, P, Q, K    []byte
	}
	Tags          map[string]string
	Managed       *bool
	ReleasePolicy *struct {
		ContentType   string
		EncodedPolicy string
		Immutable     bool
	}
	RecoveryID                      string `json:"recoveryId"`
	DeletedDate, ScheduledPurgeDate *time.Time
}

// version is the last segment of the kid.
func (b *bundle) version() string { return b.Key.Kid[strings.LastIndexByte(b.Key.Kid, '/')+1:] }

// item is what az prints of a key in a list.
type item struct {
	Kid, Name, RecoveryID           string
	DeletedDate, ScheduledPurgeDate *time.Time
	Attributes                      struct {
		Enabled       bool
		RecoveryLevel string
	}
}

func names(items []item) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = it.Name
	}
	return out
}

func isVersion(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// check compares what is true of every key that was just made.
func (s *session) check(b *bundle, name, kty string) {
	prefix := env("REDOUBT_HSM_URL") + "/keys/" + name + "/"
	want(strings.HasPrefix(b.Key.Kid, prefix) && isVersion(b.version()), "the kid is %s, want one below %s", b.Key.Kid, prefix)
	equal(b.Key.Kty, kty, name+": kty")
	equal(b.Attributes.RecoverableDays, 7, name+": recoverable days")
	equal(b.Attributes.RecoveryLevel, "CustomizedRecoverable+Purgeable", name+": recovery level")
	age := time.Since(b.Attributes.Created)
	want(age > -3*time.Second && age < patience && !b.Attributes.Updated.Before(b.Attributes.Created), "%s: created %s, updated %s", name, b.Attributes.Created, b.Attributes.Updated)
	want(b.Key.D == nil && b.Key.P == nil && b.Key.Q == nil && b.Key.K == nil, "%s: a private member came back", name)
}
