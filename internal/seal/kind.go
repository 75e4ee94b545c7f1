package seal

import "fmt"

// Kind says what a record is. The numbers are in the header of every record ever sealed: never reuse one.
// The zero value is invalid.
type Kind uint8

// Content: travels in archives and opens on the recovered HSM.
const (
	KindHead           Kind = 1 // current state of a live key name
	KindDeletedHead    Kind = 2 // state of a soft-deleted key name
	KindVersion        Kind = 3 // one key version apart from its material
	KindMaterial       Kind = 4 // the material of one key version
	KindRoleAssignment Kind = 5
	KindRoleDefinition Kind = 6
	KindSetting        Kind = 7
	KindRotationPolicy Kind = 8
	KindRoleStamp      Kind = 9  // changes with every change of roles
	KindKeyBackup      Kind = 10 // the backup of one key: travels by itself, not in archives
)

// Local: belongs to one HSM and is never archived.
const (
	KindJob         Kind = 64
	KindExchangeKey Kind = 65
	KindPointer     Kind = 66 // which generation of the content is current
)

var kindNames = map[Kind]string{
	KindHead: "head", KindDeletedHead: "deletedhead", KindVersion: "version", KindMaterial: "material",
	KindRoleAssignment: "roleassignment", KindRoleDefinition: "roledefinition", KindSetting: "setting",
	KindRotationPolicy: "rotationpolicy", KindRoleStamp: "rolestamp",
	KindKeyBackup: "keybackup",
	KindJob:       "job", KindExchangeKey: "exchangekey", KindPointer: "pointer",
}

func (k Kind) valid() bool {
	_, ok := kindNames[k]
	return ok
}

// Local tells whether records of the kind belong to one HSM only (Ref.Local must be set) or are content
// (Ref.Local must be empty).
func (k Kind) Local() bool { return k >= KindJob }

// String names the kind.
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}
