package hsm

import (
	"errors"
	"fmt"
)

var (
	// ErrNotActivated: the HSM has no security domain yet.
	ErrNotActivated = errors.New("the HSM is not activated")
	// ErrRestoring: a full restore is running; only its status can be asked for.
	ErrRestoring = errors.New("a restore is running")
	// ErrSealed: the server restarted and the HSM's root is not back yet.
	ErrSealed = errors.New("the HSM is sealed")
	// ErrUnavailable: the store cannot answer; nothing was done, or the outcome is unknown.
	ErrUnavailable = errors.New("the HSM cannot reach its store")
	// ErrAudit: the audit log takes no entries, so nothing is done that needs one.
	ErrAudit = errors.New("the audit log of the HSM cannot be written, so nothing can be changed until it can: the operator of this server must make room for it, or repair its disk; nothing needs a restart")
	// ErrAuditLost: the audit files are not those that the HSM wrote: an older copy, or cut short. It does not open with them.
	ErrAuditLost = errors.New("the audit log has lost entries")
	// ErrGone: the HSM was deleted.
	ErrGone = errors.New("the HSM has been deleted")
	// ErrBusy: another backup or restore is running.
	ErrBusy = errors.New("another backup or restore is running")
	// ErrAlreadyActive: the HSM has its security domain; recovery is only for a fresh one.
	ErrAlreadyActive = errors.New("the HSM is already activated")
	// ErrBadSecurityDomain: certificates or a restore blob the HSM cannot accept.
	ErrBadSecurityDomain = errors.New("security domain refused")
	// ErrNoExchangeKey: no exchange key has been given out, or it is spent.
	ErrNoExchangeKey = errors.New("no security domain exchange key")
	// ErrNoOperation: there is no security-domain operation to report on.
	ErrNoOperation = errors.New("no security domain operation")
	// ErrJobNotFound: no such backup or restore job.
	ErrJobNotFound = errors.New("job not found")
	// ErrBadTarget: the storage address, its credential or the folder name is not acceptable.
	ErrBadTarget = errors.New("storage target refused")
	// ErrNoRestorePoint: a full restore needs a recent backup of this HSM first.
	ErrNoRestorePoint = errors.New("no restore point")
	// ErrLimit: a service limit is reached (keys, versions, role assignments).
	ErrLimit = errors.New("limit reached")
	// ErrConflict: others kept changing the same record; the request can be repeated.
	ErrConflict = errors.New("the record was changed at the same time; try again")
	// ErrSettingNotFound: no such setting.
	ErrSettingNotFound = errors.New("setting not found")
	// ErrARMKeys: a setting of this HSM keeps the control plane from its keys.
	ErrARMKeys = errors.New("the control plane may not manage the keys of this HSM")
	// ErrAlgorithmForbidden: a setting of this HSM forbids the algorithm.
	ErrAlgorithmForbidden = errors.New("algorithm not allowed on this HSM")
	// ErrBadRequest: a value outside what the operation takes.
	ErrBadRequest = errors.New("bad request")
	// ErrCorrupt: a stored record does not open or does not parse; nothing is served from it.
	ErrCorrupt = errors.New("a stored record is damaged")
)

// notAllowed is the error of an operation that the present state forbids; it says what to do next.
func (h *HSM) notAllowed(s State, op Operation) error {
	name := h.cfg.Name
	switch s {
	case Provisioned:
		return fmt.Errorf("%w: download its security domain first (az keyvault security-domain download --hsm-name %s --sd-wrapping-keys CERTS --sd-quorum N --security-domain-file FILE), or recover one (az keyvault security-domain init-recovery --hsm-name %s --sd-exchange-key FILE)", ErrNotActivated, name, name)
	case Recovering:
		if op == OpDomainDownload || op == OpDomainDownloadStatus {
			return fmt.Errorf("%w: it is waiting for a security domain to be uploaded", ErrNotActivated)
		}
		return fmt.Errorf("%w: it is waiting for a security domain; upload one (az keyvault security-domain upload --hsm-name %s --sd-file BLOB --restore-blob)", ErrNotActivated, name)
	case Restoring:
		return fmt.Errorf("%w: wait for it to end; only the restore's status can be asked for now", ErrRestoring)
	case Sealed:
		return fmt.Errorf("%w: the operator of this server must give it its unlock passphrase", ErrSealed)
	case Degraded:
		return ErrUnavailable
	case Deleted:
		return fmt.Errorf("%w: recover it with az keyvault recover --hsm-name %s", ErrGone, name)
	case Active:
		return fmt.Errorf("%w: its security domain stays as it is; to recover another HSM's, create a new HSM and run init-recovery there", ErrAlreadyActive)
	}
	return ErrUnavailable
}

// answer is an error whose text is made for the caller: the service's own words first, where they are
// known, then what to do next. errors.Is finds the sentinel it stands for.
type answer struct {
	kind error
	text string
}

func (a *answer) Error() string { return a.text }
func (a *answer) Unwrap() error { return a.kind }

func answerf(kind error, format string, args ...any) error {
	return &answer{kind: kind, text: fmt.Sprintf(format, args...)}
}
