"""To the service: sign, send, stream the answer back."""
