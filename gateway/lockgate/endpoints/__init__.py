"""The gateway's own calls (`/auth`, `/admin`, `/.well-known`, health): thin routers over the parts that do the work."""
