from __future__ import annotations

from tests.support.each_store import redis, store_url

__all__ = ["redis", "store_url"]
