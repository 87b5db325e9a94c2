"""Login, refresh, revoke, logout: how a session begins, goes on and ends."""
