"""Where a service keeps what it knows: database, Redis, objects, jobs."""
