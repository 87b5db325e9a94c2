"""Accounts, OAuth clients, and how often a password may be tried."""
