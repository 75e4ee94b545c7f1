package dataplane

import (
	"redoubt/internal/api/azhttp"
	"redoubt/internal/api/strictjson"
)

// Decode reads the body into v as package strictjson does: every body of the data plane goes this way.
func (q *request) Decode(v any) error {
	b, err := q.ReadBody()
	if err != nil {
		return err
	}
	return decodeBody(b, v)
}

// decodeBody is Decode for a body that has been read.
func decodeBody(b []byte, v any) error {
	if len(b) == 0 {
		return azhttp.Bad("The request needs a JSON body.")
	}
	if err := strictjson.Decode(b, v); err != nil {
		return azhttp.Bad("The request body is not valid: " + err.Error() + ".")
	}
	return nil
}
