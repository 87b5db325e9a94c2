"""users: who has an account, and whether a password is theirs."""
