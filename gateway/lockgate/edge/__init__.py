"""Untrusted bytes: what arrives here is parsed strictly, once, into values that the other stages can rely on."""
