"""Composition: every object of a worker is made, opened and closed here."""
