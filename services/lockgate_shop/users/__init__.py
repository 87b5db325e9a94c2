"""users: accounts, and whether a password belongs to one."""
