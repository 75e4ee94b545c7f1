package dataplane

import (
	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
)

var settingRoutes = []route{
	{"GET", "settings", listSettings},
	{"GET", "settings/{setting}", getSetting},
	{"PATCH", "settings/{setting}", updateSetting},
}

type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Type  string `json:"type"`
}

func wireSetting(s hsm.Setting) setting { return setting{s.Name, s.Value, s.Type} }

func listSettings(q *request) (azhttp.Reply, error) {
	all, err := q.hsm.ListSettings(q.Context(), q.who)
	out := []setting{}
	for _, s := range all {
		out = append(out, wireSetting(s))
	}
	return azhttp.Reply{Body: map[string]any{"settings": out}}, err
}

func getSetting(q *request) (azhttp.Reply, error) {
	s, err := q.hsm.GetSetting(q.Context(), q.who, q.Param("setting"))
	return azhttp.Reply{Body: wireSetting(s)}, err
}

func updateSetting(q *request) (azhttp.Reply, error) {
	var body value
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	s, err := q.hsm.UpdateSetting(q.Context(), q.who, q.Param("setting"), body.Value)
	return azhttp.Reply{Body: wireSetting(s)}, err
}
