"""Lockgate: issues tokens, validates each once at the edge, forwards signed identity to stateless services."""
