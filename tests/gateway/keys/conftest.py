from __future__ import annotations

from tests.support.rings import private_keys, ring

__all__ = ["private_keys", "ring"]
