"""Configurations of the other gateways, and a gateway written here, as teams commonly build one."""
