package dataplane

import "strings"

// Routes are the methods and patterns of all routes. Those of roles stand with the scope "/".
func Routes() (out [][2]string) {
	for _, r := range routes() {
		out = append(out, [2]string{r.method, r.pattern})
	}
	for what := range roleRoutes {
		method, list, _ := strings.Cut(what, " ")
		list, one, _ := strings.Cut(list, " ")
		if one != "" {
			list += "/{id}"
		}
		out = append(out, [2]string{method, "providers/Microsoft.Authorization/" + list})
	}
	return out
}
