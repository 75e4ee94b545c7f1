// Package securitydomain makes and reads the files that carry an HSM's root from one site to the next:
// the security domain (the root, encrypted under a master key whose shares are encrypted to the key holders),
// the exchange key of a recovering HSM, and the restore blob (the same root, encrypted to that HSM alone).
//
// The formats are those of Azure Managed HSM as the genuine Azure CLI reads and writes them, so that
// either side of a ceremony may be played by az or by us. docs/formats/security-domain.md gives every byte.
//
// The four steps, and who takes them:
//
//	ParseDownloadRequest, Create   the server, when the security domain is downloaded
//	NewExchangeKey                 the server of the new HSM, at init-recovery
//	Open, Reencrypt                the holders, offline, with M of the N wrapping keys
//	Accept                         the server of the new HSM, at upload
//
// What the formats promise and what not. A security domain file is confidential unless M holders join, and
// damage to what is decrypted is noticed; the readable parts (quorum, thumbprints, DomainId) are not authenticated, only
// DomainId is compared with the info record when the file is opened. A restore blob is encrypted but not authenticated: whoever may
// upload can make one around a root they know. Compare the domain id and the exchange key's fingerprint on a second channel.
//
// The package computes and does nothing else: no files, no network, no clock (times are Unix seconds given by
// the caller), no logging. Errors name certificates, keys and tags, never secret values.
//
// Known weakness: Wipe and the clearing of intermediate keys are best effort. The standard library keeps copies of
// RSA keys that cannot be reached, and the runtime may have moved bytes before.
package securitydomain

import "errors"

// Limits of the format, as the genuine client has them.
const (
	MinCertificates = 3  // wrapping certificates of one security domain
	MaxCertificates = 10 // likewise
	MinQuorum       = 2  // shares needed; at most the number of certificates
	MinKeyBits      = 2048
	maxKeyBits      = 8192 // keeps a hostile certificate from buying seconds of our time
	maxFile         = 1 << 20
)

var (
	// ErrBadRequest means that a download request breaks a rule; the message says which certificate and what to do.
	ErrBadRequest = errors.New("securitydomain: bad download request")
	// ErrBadData means that the program handed in data that no security domain can carry.
	ErrBadData = errors.New("securitydomain: impossible data")
	// ErrBadCertificate means that text is not an RSA certificate this package can encrypt to.
	ErrBadCertificate = errors.New("securitydomain: bad certificate")
	// ErrBadKey means that a wrapping key cannot be used: unreadable, wrong password, or not its certificate's.
	ErrBadKey = errors.New("securitydomain: bad wrapping key")
	// ErrBadSecurityDomain means that a security domain file is malformed, truncated or altered.
	ErrBadSecurityDomain = errors.New("securitydomain: bad security domain file")
	// ErrQuorum means that too few different keys of this security domain were given.
	ErrQuorum = errors.New("securitydomain: quorum not reached")
	// ErrBadRestoreBlob means that a restore blob is malformed or does not hold exactly the expected data.
	ErrBadRestoreBlob = errors.New("securitydomain: bad restore blob")
	// ErrWrongExchangeKey means that a restore blob was made for another exchange key.
	ErrWrongExchangeKey = errors.New("securitydomain: restore blob is for another exchange key")
	// ErrTampered means that a part of a restore blob does not decrypt: damaged, or altered.
	ErrTampered = errors.New("securitydomain: restore blob damaged or altered")
	// ErrBadInfo means that the info record is unknown to this release or malformed.
	ErrBadInfo = errors.New("securitydomain: bad info record")
	// ErrBadExchangeKey means that an exported exchange key is malformed.
	ErrBadExchangeKey = errors.New("securitydomain: bad exchange key record")
)
