package storage

import (
	"encoding/xml"
	"net/http"
	"strings"
)

// createContainer makes an empty private container.
func (c *call) createContainer() error {
	if c.r.Header.Get("x-ms-blob-public-access") != "" {
		return refuse(409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
	}
	m, err := parseMetadata(c.r.Header)
	if err != nil {
		return err
	}
	info := containerInfo{ETag: newETag(), Modified: c.now, Metadata: m}
	if err := c.s.disk.createContainer(c.account.Name, c.container, info); err != nil {
		return err
	}
	c.containerAnswer(http.StatusCreated, info)
	return nil
}

func (c *call) deleteContainer() error {
	cond, err := parseConditions(c.r.Header)
	if err != nil {
		return err
	}
	if err := c.s.disk.deleteContainer(c.account.Name, c.container, cond.forContainer); err != nil {
		return err
	}
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// containerProperties answers Get Container Properties and Get Container Metadata.
func (c *call) containerProperties() error {
	info, err := c.s.disk.container(c.account.Name, c.container)
	if err != nil {
		return err
	}
	h := c.w.Header()
	setMetadata(h, info.Metadata)
	if c.query.Get("comp") == "" {
		h.Set("x-ms-lease-status", "unlocked")
		h.Set("x-ms-lease-state", "available")
		h.Set("x-ms-has-immutability-policy", "false")
		h.Set("x-ms-has-legal-hold", "false")
		h.Set("x-ms-immutable-storage-with-versioning-enabled", "false")
		h.Set("x-ms-default-encryption-scope", "$account-encryption-key")
		h.Set("x-ms-deny-encryption-scope-override", "false")
	}
	c.containerAnswer(http.StatusOK, info)
	return nil
}

// setContainerMetadata replaces all metadata of a container.
func (c *call) setContainerMetadata() error {
	m, err := parseMetadata(c.r.Header)
	if err != nil {
		return err
	}
	cond, err := parseConditions(c.r.Header)
	if err != nil {
		return err
	}
	info, err := c.s.disk.updateContainer(c.account.Name, c.container, func(i *containerInfo) error {
		if err := cond.forContainer(*i); err != nil {
			return err
		}
		i.Metadata, i.ETag, i.Modified = m, newETag(), c.now
		return nil
	})
	if err != nil {
		return err
	}
	c.containerAnswer(http.StatusOK, info)
	return nil
}

// containerACL says what is always true here: private, and no stored access policies.
func (c *call) containerACL() error {
	info, err := c.s.disk.container(c.account.Name, c.container)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("ETag", info.ETag)
	h.Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	writeXML(c.w, http.StatusOK, struct {
		XMLName xml.Name `xml:"SignedIdentifiers"`
	}{})
	return nil
}

func (c *call) containerAnswer(status int, info containerInfo) {
	h := c.w.Header()
	h.Set("ETag", info.ETag)
	h.Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	h.Set("Content-Length", "0")
	c.w.WriteHeader(status)
}

// serviceProperties answers with the defaults of a fresh account.
func (c *call) serviceProperties() error {
	type retention struct{ Enabled bool }
	type metrics struct {
		Version         string
		Enabled         bool
		RetentionPolicy retention
	}
	type logging struct {
		Version             string
		Delete, Read, Write bool
		RetentionPolicy     retention
	}
	writeXML(c.w, http.StatusOK, struct {
		XMLName               xml.Name `xml:"StorageServiceProperties"`
		Logging               logging
		HourMetrics           metrics
		MinuteMetrics         metrics
		Cors                  string
		DefaultServiceVersion string
		DeleteRetentionPolicy retention
		StaticWebsite         retention
	}{
		Logging: logging{Version: "1.0"}, HourMetrics: metrics{Version: "1.0"}, MinuteMetrics: metrics{Version: "1.0"},
		DefaultServiceVersion: defaultVersion,
	})
	return nil
}

func (c *call) accountInformation() error {
	h := c.w.Header()
	h.Set("x-ms-sku-name", "Standard_LRS")
	h.Set("x-ms-account-kind", "StorageV2")
	h.Set("x-ms-is-hns-enabled", "false")
	h.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// endpoint is the account's own address as the client used it.
func (c *call) endpoint() string {
	scheme := "http"
	if c.s.cfg.Secure(c.r) {
		scheme = "https"
	}
	return scheme + "://" + strings.ToLower(c.r.Host) + "/"
}
