package dataplane

import (
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

var rotationRoutes = []route{
	{"POST", "keys/{name}/rotate", rotateKey},
	{"GET", "keys/{name}/rotationpolicy", getRotationPolicy},
	{"PUT", "keys/{name}/rotationpolicy", setRotationPolicy},
}

// keyRotationPolicy is KeyRotationPolicy of the API. Members that the service owns are ignored in requests.
type keyRotationPolicy struct {
	ID         string                      `json:"id"`
	Actions    []lifetimeAction            `json:"lifetimeActions"`
	Attributes keyRotationPolicyAttributes `json:"attributes"`
}

type keyRotationPolicyAttributes struct {
	ExpiryTime string `json:"expiryTime,omitempty"`
	Created    int64  `json:"created,omitempty"`
	Updated    int64  `json:"updated,omitempty"`
}

type lifetimeAction struct {
	Trigger struct {
		TimeAfterCreate  string `json:"timeAfterCreate,omitempty"`
		TimeBeforeExpiry string `json:"timeBeforeExpiry,omitempty"`
	} `json:"trigger"`
	Action struct {
		Type string `json:"type"`
	} `json:"action"`
}

// policyRequest is what a client may set.
type policyRequest struct {
	Actions    []lifetimeAction `json:"lifetimeActions"`
	Attributes struct {
		ExpiryTime string `json:"expiryTime"`
	} `json:"attributes"`
}

func (p policyRequest) policy() key.RotationPolicy {
	out := key.RotationPolicy{ExpiryTime: p.Attributes.ExpiryTime}
	for _, a := range p.Actions {
		out.Actions = append(out.Actions, key.LifetimeAction{Action: a.Action.Type, AfterCreate: a.Trigger.TimeAfterCreate, BeforeExpiry: a.Trigger.TimeBeforeExpiry})
	}
	return out
}

func rotateKey(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.bundleReply(q.hsm.RotateKey(q.Context(), q.who, n))
}

func getRotationPolicy(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.policyReply(q.hsm.GetRotationPolicy(q.Context(), q.who, n))
}

func setRotationPolicy(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body policyRequest
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	return q.policyReply(q.hsm.SetRotationPolicy(q.Context(), q.who, n, body.policy()))
}

func (q *request) policyReply(r hsm.Rotation, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(q.rotationPolicy(r))
}

// rotationPolicy is the wire form. A key without a policy has an empty one: an id, no actions, no attributes.
func (q *request) rotationPolicy(r hsm.Rotation) keyRotationPolicy {
	out := keyRotationPolicy{ID: q.kid(r.Name, "") + "/rotationpolicy", Actions: []lifetimeAction{}}
	if r.Policy == nil {
		return out
	}
	out.Attributes = keyRotationPolicyAttributes{r.Policy.ExpiryTime, r.Policy.Created, r.Policy.Updated}
	for _, a := range r.Policy.Actions {
		var w lifetimeAction
		w.Action.Type = q.actionName(a.Action)
		w.Trigger.TimeAfterCreate, w.Trigger.TimeBeforeExpiry = a.AfterCreate, a.BeforeExpiry
		out.Actions = append(out.Actions, w)
	}
	return out
}

// actionName spells the type of an action as the documents of the request's api-version do: those of 7.3 and 7.4
// have it in lower case.
func (q *request) actionName(s string) string {
	v := q.URL.Query().Get("api-version")
	if strings.HasPrefix(v, "7.3") || strings.HasPrefix(v, "7.4") {
		return strings.ToLower(s)
	}
	return s
}
