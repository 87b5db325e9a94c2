"""Where may they go: a table of routes, and what each asks of an identity. What is not in the table is refused."""
