"""Lockgate: issues tokens, validates each once at the edge, forwards signed identity to stateless services."""

from typing import Final

from lockgate.compilation import choose_modules

SERVING: Final = choose_modules()
"""Which modules serve: the compiled ones, or their sources and why."""
