module redoubt/test/compat/oracle

go 1.26.0
