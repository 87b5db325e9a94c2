"""Sends judged requests to services: sign, send, stream the response back."""
