"""What the services share: app factory, settings, database, the caller, problem answers, calls to other services."""
