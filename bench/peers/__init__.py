"""Configurations of the other gateways, and one that is written here: what people commonly build."""
