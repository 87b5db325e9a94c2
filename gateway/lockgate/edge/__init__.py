"""Parses untrusted bytes strictly and once, into values that the other stages can rely on."""
