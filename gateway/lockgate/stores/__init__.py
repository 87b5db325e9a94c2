"""Where state lives that no process may keep: Redis."""
