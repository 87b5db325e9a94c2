"""The rules: a table of routes, and the demands of each on an identity. A path without a route is refused."""
