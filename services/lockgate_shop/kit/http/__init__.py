"""What a service says and understands over HTTP."""
