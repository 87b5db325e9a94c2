"""May they still: one question to Redis for all requests that wait in the same tick of the event loop."""
