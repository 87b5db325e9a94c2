"""Connections to upstream addresses, for forwarded requests and for the gateway's own calls to services."""
