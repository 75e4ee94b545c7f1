package hsm

import "redoubt/internal/rbac"

// The auditor's view of roles and settings; see check.go.

func (ck *checker) assignment(logical string, a rbac.Assignment) {
	ck.assignments = append(ck.assignments, a)
	id, err := rbac.ParseGUID(a.ID)
	if err != nil || assignmentName(id) != logical {
		ck.report("%s says that it is role assignment %s", logical, a.ID)
	}
	if p, err := rbac.ParseGUID(a.Principal); err != nil || p != a.Principal {
		ck.report("%s: principal %q is not an object id", logical, a.Principal)
	}
	if s, err := rbac.ParseScope(string(a.Scope)); err != nil || s != a.Scope {
		ck.report("%s: %q is no scope", logical, a.Scope)
	}
}

func (ck *checker) definition(logical string, d rbac.Definition) {
	ck.definitions = append(ck.definitions, d)
	if definitionName(d.ID) != logical {
		ck.report("%s says that it is role definition %s", logical, d.ID)
	}
	if _, ok := rbac.BuiltIn(d.ID); ok || d.BuiltIn {
		ck.report("%s: built-in roles are not stored", logical)
	}
}

func (ck *checker) setting(logical string, s Setting) {
	for _, known := range knownSettings {
		if known.Name == s.Name && settingName(s.Name) == logical && known.Type == s.Type && (s.Value == "true" || s.Value == "false") {
			return
		}
	}
	ck.report("%s is no setting of this HSM: %+v", logical, s)
}
