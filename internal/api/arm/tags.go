package arm

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/fleet"
)

// tagsBehind is the resource that holds the tags of the one before it (az tag).
const tagsBehind = "/providers/Microsoft.Resources/tags/default"

var tagRoutes = func() (rows []route) {
	for _, of := range []string{hsmPath, "subscriptions/{sub}/resourceGroups/{rg}"} {
		rows = append(rows, route{http.MethodGet, of + tagsBehind, "Microsoft.Resources/tags/read", getTags},
			route{http.MethodPut, of + tagsBehind, "Microsoft.Resources/tags/write", putTags},
			route{http.MethodPatch, of + tagsBehind, "Microsoft.Resources/tags/write", patchTags},
			route{http.MethodDelete, of + tagsBehind, "Microsoft.Resources/tags/delete", deleteTags})
	}
	return rows
}()

// maxTags is how many tags a body may have, as many as a resource can: each is compared with the others.
const maxTags = 50

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%w: a resource has at most %d tags, got %d", fleet.ErrBadResource, maxTags, len(tags))
	}
	return nil
}

// tagChange makes the tags that follow old ones, which it must not change.
type tagChange func(old map[string]string) (map[string]string, error)

type tagsBody struct {
	Operation  string `json:"operation"`
	Properties struct {
		Tags map[string]string `json:"tags"`
	} `json:"properties"`
}

func getTags(q *request) (azhttp.Reply, error) {
	if q.Param("name") == "" {
		g, err := q.resourceGroup()
		return wireTags(g.ID(), g.Tags), err
	}
	r, err := q.h.cfg.Fleet.Get(q.Param("name"))
	if err != nil || !q.owns(r) {
		return azhttp.Reply{}, q.notFound()
	}
	return wireTags(hsmID(r), r.Tags), nil
}

func putTags(q *request) (azhttp.Reply, error) {
	var body tagsBody
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if err := checkTags(body.Properties.Tags); err != nil {
		return azhttp.Reply{}, err
	}
	return q.changeTags(func(map[string]string) (map[string]string, error) { return body.Properties.Tags, nil })
}

// patchTags merges, replaces or deletes. Names of tags are the same whatever their letter case; one is deleted if its
// value is the given one.
func patchTags(q *request) (azhttp.Reply, error) {
	var body tagsBody
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if err := checkTags(body.Properties.Tags); err != nil {
		return azhttp.Reply{}, err
	}
	given := body.Properties.Tags
	return q.changeTags(func(old map[string]string) (map[string]string, error) {
		now := maps.Clone(old)
		if now == nil {
			now = map[string]string{}
		}
		switch strings.ToLower(body.Operation) {
		case "replace":
			return given, nil
		case "merge":
			for name, value := range given {
				maps.DeleteFunc(now, func(n, _ string) bool { return strings.EqualFold(n, name) })
				now[name] = value
			}
			return now, nil
		case "delete":
			for name, value := range given {
				maps.DeleteFunc(now, func(n, v string) bool { return strings.EqualFold(n, name) && v == value })
			}
			return now, nil
		}
		return nil, fmt.Errorf("%w: operation is Merge, Replace or Delete, got %q", fleet.ErrBadResource, clip(body.Operation))
	})
}

func deleteTags(q *request) (azhttp.Reply, error) {
	_, err := q.changeTags(func(map[string]string) (map[string]string, error) { return map[string]string{}, nil })
	return azhttp.Reply{}, err
}

func (q *request) changeTags(change tagChange) (azhttp.Reply, error) {
	if q.Param("name") == "" {
		g, err := q.resourceGroup()
		if err != nil {
			return azhttp.Reply{}, err
		}
		if g.Tags, err = change(g.Tags); err == nil {
			err = checkTags(g.Tags)
		}
		if err != nil {
			return azhttp.Reply{}, err
		}
		g, _, err = q.h.cfg.Cloud.PutResourceGroup(q.Context(), g)
		return wireTags(g.ID(), g.Tags), err
	}
	r, err := q.h.cfg.Fleet.Update(q.Context(), q.Param("name"), func(r *fleet.Resource) (err error) {
		if !q.owns(*r) {
			return q.notFound()
		}
		r.Tags, err = change(r.Tags)
		return err
	})
	if errors.Is(err, fleet.ErrNotFound) {
		err = q.notFound()
	}
	return wireTags(hsmID(r), r.Tags), err
}

func wireTags(id string, tags map[string]string) azhttp.Reply {
	if tags == nil {
		tags = map[string]string{}
	}
	return azhttp.Reply{Body: map[string]any{"id": id + tagsBehind, "name": "default", "type": "Microsoft.Resources/tags", "properties": map[string]any{"tags": tags}}}
}
