package arm

import (
	"fmt"
	"net/http"

	"redoubt/internal/api/azhttp"
)

const endpointPath = hsmPath + "/privateEndpointConnections"

// endpointRoutes are those of private endpoints. There are none here, and none can be made: networks are the site's
// own. So lists are empty and nothing is found, on an HSM that is there.
var endpointRoutes = []route{
	{"GET", endpointPath, "Microsoft.KeyVault/managedHSMs/privateEndpointConnections/read", emptyOfHSM},
	{"GET", endpointPath + "/{pec}", "Microsoft.KeyVault/managedHSMs/privateEndpointConnections/read", noEndpoint},
	{"PUT", endpointPath + "/{pec}", "Microsoft.KeyVault/managedHSMs/privateEndpointConnections/write", noEndpoint},
	{"DELETE", endpointPath + "/{pec}", "Microsoft.KeyVault/managedHSMs/privateEndpointConnections/delete", deleteEndpoint},
	{"GET", hsmPath + "/privateLinkResources", "Microsoft.KeyVault/managedHSMs/privateLinkResources/read", emptyOfHSM},
}

// exists tells whether the HSM in the path is there.
func (q *request) exists() error {
	if r, err := q.h.cfg.Fleet.Get(q.Param("name")); err != nil || !q.owns(r) {
		return q.notFound()
	}
	return nil
}

func emptyOfHSM(q *request) (azhttp.Reply, error) {
	if err := q.exists(); err != nil {
		return azhttp.Reply{}, err
	}
	return values[any](nil), nil
}

func noEndpoint(q *request) (azhttp.Reply, error) {
	if err := q.exists(); err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.Reply{}, &azhttp.Problem{Status: http.StatusNotFound, Code: "ResourceNotFound", Message: fmt.Sprintf(
		"The managed HSM '%s' has no private endpoint connection '%s'. This server has no private endpoints: the addresses it listens on and networkAcls decide who reaches it.", q.Param("name"), clip(q.Param("pec")))}
}

func deleteEndpoint(q *request) (azhttp.Reply, error) {
	if err := q.exists(); err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.Reply{Status: http.StatusNoContent}, nil
}
