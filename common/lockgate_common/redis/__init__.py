"""Redis as the gateway and the services both use it: one server, the master that Sentinels name, or a Cluster."""
