"""Bytes and text in the one form that is accepted: JSON, base64url, sealed values, MAC tokens."""
