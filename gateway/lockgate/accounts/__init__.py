"""Who has an account, which clients there are, and how often a password may be tried."""
