"""How a service is put together and run."""
