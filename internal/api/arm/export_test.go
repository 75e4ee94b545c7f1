package arm

// Row is a row of the route table, for the matrix of roles.
type Row struct{ Method, Pattern, Action string }

// Rows are all routes.
func (h *Handler) Rows() (rows []Row) {
	for _, r := range h.table {
		rows = append(rows, Row{r.method, r.pattern, r.action})
	}
	for what, r := range authorizationRoutes {
		rows = append(rows, Row{"", what, r.action})
	}
	return rows
}
