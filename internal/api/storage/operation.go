package storage

import (
	"net/http"
	"sync"
)

// level is what an operation acts on; its value is the letter of an account SAS's resource types (srt).
type level byte

const (
	levelService   level = 's'
	levelContainer level = 'c'
	levelBlob      level = 'o'
)

// operation is one row of the table that routing and authorization share.
type operation struct {
	name            string
	level           level
	method          string
	restype, comp   string
	write           bool   // asked of Authorizer.MayData
	serviceSAS      string // permissions of a container or blob SAS, any one of which suffices; "" = none does
	accountSAS      string // the same for an account SAS
	anyCredential   bool   // whoever is authenticated may
	bearerOnly      bool
	createOrReplace bool // 'c' without 'w' allows it only where nothing is replaced
	run             func(*call) error
}

// operations makes the table once; a variable could not be filled directly, because the handlers reach back
// to it.
var operations = sync.OnceValue(func() []operation {
	const (
		get  = http.MethodGet
		head = http.MethodHead
		put  = http.MethodPut
		post = http.MethodPost
		del  = http.MethodDelete
	)
	svc, con, blb := levelService, levelContainer, levelBlob
	return []operation{
		{name: "ListContainers", level: svc, method: get, comp: "list", accountSAS: "l", run: (*call).listContainers},
		{name: "GetServiceProperties", level: svc, method: get, restype: "service", comp: "properties", accountSAS: "r", run: (*call).serviceProperties},
		{name: "GetUserDelegationKey", level: svc, method: post, restype: "service", comp: "userdelegationkey", bearerOnly: true, run: (*call).userDelegationKey},
		{name: "GetAccountInformation", level: svc, method: get, restype: "account", comp: "properties", anyCredential: true, run: (*call).accountInformation},
		{name: "GetAccountInformation", level: svc, method: head, restype: "account", comp: "properties", anyCredential: true, run: (*call).accountInformation},
		{name: "GetAccountInformation", level: con, method: get, restype: "account", comp: "properties", anyCredential: true, run: (*call).accountInformation},
		{name: "GetAccountInformation", level: con, method: head, restype: "account", comp: "properties", anyCredential: true, run: (*call).accountInformation},
		{name: "GetAccountInformation", level: blb, method: get, restype: "account", comp: "properties", anyCredential: true, run: (*call).accountInformation},
		{name: "GetAccountInformation", level: blb, method: head, restype: "account", comp: "properties", anyCredential: true, run: (*call).accountInformation},

		{name: "CreateContainer", level: con, method: put, restype: "container", write: true, accountSAS: "cw", run: (*call).createContainer},
		{name: "DeleteContainer", level: con, method: del, restype: "container", write: true, accountSAS: "d", run: (*call).deleteContainer},
		{name: "GetContainerProperties", level: con, method: get, restype: "container", accountSAS: "r", run: (*call).containerProperties},
		{name: "GetContainerProperties", level: con, method: head, restype: "container", accountSAS: "r", run: (*call).containerProperties},
		{name: "GetContainerMetadata", level: con, method: get, restype: "container", comp: "metadata", accountSAS: "r", run: (*call).containerProperties},
		{name: "GetContainerMetadata", level: con, method: head, restype: "container", comp: "metadata", accountSAS: "r", run: (*call).containerProperties},
		{name: "SetContainerMetadata", level: con, method: put, restype: "container", comp: "metadata", write: true, accountSAS: "w", run: (*call).setContainerMetadata},
		{name: "GetContainerACL", level: con, method: get, restype: "container", comp: "acl", run: (*call).containerACL},
		{name: "GetContainerACL", level: con, method: head, restype: "container", comp: "acl", run: (*call).containerACL},
		{name: "ListBlobs", level: con, method: get, restype: "container", comp: "list", serviceSAS: "l", accountSAS: "l", run: (*call).listBlobs},

		{name: "PutBlob", level: blb, method: put, write: true, serviceSAS: "wc", accountSAS: "wc", createOrReplace: true, run: (*call).putBlob},
		{name: "PutBlock", level: blb, method: put, comp: "block", write: true, serviceSAS: "w", accountSAS: "w", run: (*call).putBlock},
		{name: "PutBlockList", level: blb, method: put, comp: "blocklist", write: true, serviceSAS: "w", accountSAS: "w", run: (*call).putBlockList},
		{name: "GetBlockList", level: blb, method: get, comp: "blocklist", serviceSAS: "r", accountSAS: "r", run: (*call).getBlockList},
		{name: "GetBlob", level: blb, method: get, serviceSAS: "r", accountSAS: "r", run: (*call).getBlob},
		{name: "GetBlobProperties", level: blb, method: head, serviceSAS: "r", accountSAS: "r", run: (*call).blobProperties},
		{name: "GetBlobMetadata", level: blb, method: get, comp: "metadata", serviceSAS: "r", accountSAS: "r", run: (*call).blobMetadata},
		{name: "GetBlobMetadata", level: blb, method: head, comp: "metadata", serviceSAS: "r", accountSAS: "r", run: (*call).blobMetadata},
		{name: "SetBlobMetadata", level: blb, method: put, comp: "metadata", write: true, serviceSAS: "w", accountSAS: "w", run: (*call).setBlobMetadata},
		{name: "SetBlobProperties", level: blb, method: put, comp: "properties", write: true, serviceSAS: "w", accountSAS: "w", run: (*call).setBlobProperties},
		{name: "DeleteBlob", level: blb, method: del, write: true, serviceSAS: "d", accountSAS: "d", run: (*call).deleteBlob},
	}
})

// findOperation picks the row for a request; what Azure offers and this server does not is 501.
func findOperation(c *call) (*operation, error) {
	at := levelBlob
	switch {
	case c.container == "":
		at = levelService
	case c.blob == "":
		at = levelContainer
	}
	restype, comp := c.query.Get("restype"), c.query.Get("comp")
	table := operations()
	for i := range table {
		op := &table[i]
		if op.level == at && op.method == c.r.Method && op.restype == restype && op.comp == comp {
			return op, nil
		}
	}
	if at == levelContainer && restype == "" {
		// /name without restype addresses a blob of the root container, which no account here has.
		return nil, errContainerNotFound
	}
	if comp == "" && restype == "" {
		return nil, refuse(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support the specified HTTP verb.")
	}
	return nil, notImplemented(c.r.Method + " with restype=" + restype + " and comp=" + comp)
}
