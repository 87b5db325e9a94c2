"""The history of the users database's schema."""
