package arm

import (
	"net"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

const (
	keysPath      = hsmPath + "/keys"
	keysType      = hsmType + "/keys"
	versionsType  = keysType + "/versions"
	actionRead    = "Microsoft.KeyVault/managedHSMs/keys/read"
	actionWrite   = "Microsoft.KeyVault/managedHSMs/keys/write"
	actionVersion = "Microsoft.KeyVault/managedHSMs/keys/versions/read"
)

// keyRoutes are the keys of an HSM as resources (rest-api 1.8, operations 78 to 82): made if absent, shown, listed.
// They need the right in the control plane and the HSM's setting AllowKeyManagementOperationsThroughARM.
var keyRoutes = []route{
	{"PUT", keysPath + "/{key}", actionWrite, createHSMKey},
	{"GET", keysPath + "/{key}", actionRead, getHSMKey},
	{"GET", keysPath, actionRead, listHSMKeys},
	{"GET", keysPath + "/{key}/versions/{version}", actionVersion, getHSMKey},
	{"GET", keysPath + "/{key}/versions", actionVersion, listKeyVersions},
}

// keyCall is a request about the keys of one HSM.
type keyCall struct {
	*request
	device  *hsm.HSM
	res     fleet.Resource
	who     hsm.Caller
	name    key.Name    // "" in lists of keys
	version key.Version // "" unless the path has one
}

// keyCall finds the HSM and reads the names in the path. Who is kept out by the HSM's network rules is told so by the
// device, which records it.
func (q *request) keyCall() (k keyCall, err error) {
	name := q.Param("name")
	k.request = q
	if k.device, k.res, err = q.h.cfg.Fleet.Device(name); k.res.ID == "" || !q.owns(k.res) {
		return k, q.notFound()
	}
	if err != nil {
		return k, err
	}
	if n := q.Param("key"); n != "" {
		if k.name, err = key.ParseName(n); err != nil {
			return k, err
		}
	}
	if k.version, err = key.ParseVersion(q.Param("version")); err != nil {
		return k, err
	}
	ip, _, _ := net.SplitHostPort(q.RemoteAddr)
	k.who = hsm.Caller{Principal: q.who.Principal, RequestID: q.ID, IP: ip, Client: azhttp.Clip(q.UserAgent(), 256), Version: azhttp.Clip(q.askedVersion(), 32),
		URI: azhttp.Clip("https://"+q.Host+q.URL.EscapedPath(), 2048), Status: azhttp.StatusOf, Barred: k.res.AdmitTrusted(ip, q.who.Principal.ID)}
	return k, nil
}

func createHSMKey(q *request) (azhttp.Reply, error) {
	k, err := q.keyCall()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body keyBody
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	p, policy, err := body.params()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return k.reply(k.device.ARMCreateKey(q.Context(), k.who, k.name, p, policy))
}

func getHSMKey(q *request) (azhttp.Reply, error) {
	k, err := q.keyCall()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return k.reply(k.device.ARMGetKey(q.Context(), k.who, k.name, k.version))
}

func (k keyCall) reply(got hsm.ARMKey, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(k.resource(got, k.version != ""))
}

func listHSMKeys(q *request) (azhttp.Reply, error) {
	k, err := q.keyCall()
	if err != nil {
		return azhttp.Reply{}, err
	}
	top, after, err := q.page()
	if err != nil {
		return azhttp.Reply{}, err
	}
	items, next, err := k.device.ARMListKeys(q.Context(), k.who, after, min(top, hsm.MaxPage))
	return k.page(items, next, false, err)
}

func listKeyVersions(q *request) (azhttp.Reply, error) {
	k, err := q.keyCall()
	if err != nil {
		return azhttp.Reply{}, err
	}
	top, after, err := q.page()
	if err != nil {
		return azhttp.Reply{}, err
	}
	items, next, err := k.device.ARMListVersions(q.Context(), k.who, k.name, after, min(top, hsm.MaxPage))
	return k.page(items, next, true, err)
}

// page is a page of keys or of the versions of one.
func (k keyCall) page(items []hsm.Bundle, next string, versions bool, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	var out []keyResource
	for _, b := range items {
		out = append(out, k.item(b, versions))
	}
	return paged(k.request, out, next, next != ""), nil
}

// keyURI is the address of a key in the data plane.
func (k keyCall) keyURI(n key.Name, v key.Version) string {
	uri := "https://" + strings.ToLower(k.res.Name) + "." + k.endpoints().DeviceSuffix + "/keys/" + string(n)
	if v != "" {
		uri += "/" + string(v)
	}
	return uri
}
