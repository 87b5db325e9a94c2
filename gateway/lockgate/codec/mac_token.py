"""Tokens that name something and carry a MAC, which only a holder of the gateway's secrets can make.

    prefix base64url( fields of fixed length | MAC: 32 bytes | last field, of any length but zero )

    MAC = HMAC-SHA256( secret, purpose | fields | last field )

The prefix is for tools that look for leaked secrets. The purpose keeps kinds of tokens apart that share a secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from lockgate.codec import base64url

_MAC_BYTES: Final = 32


class MacToken:
    """One kind of token.

    Args:
        prefix: every token of the kind begins with it.
        purpose: ends in a zero byte, so that no purpose begins another.
        sizes: the length of each field but the last, in bytes.
        max_bytes: a longer token is not read.
    """

    def __init__(self, *, prefix: bytes, purpose: bytes, sizes: Sequence[int], max_bytes: int) -> None:
        self._prefix = prefix
        self._purpose = purpose
        self._ends = tuple(sum(sizes[: number + 1]) for number in range(len(sizes)))
        self._head_bytes = sum(sizes)
        self._max_bytes = max_bytes

    def make(self, key: bytes, *fields: bytes) -> bytes:
        """The token for some fields; the same for the same key.

        Raises:
            ValueError: a field has not the length that this kind of token gives it.
        """
        head, last = b"".join(fields[:-1]), fields[-1]
        if self._split(head) != list(fields[:-1]) or not last:
            raise ValueError("the fields do not fit this kind of token")
        return self._prefix + base64url.encode(head + self._compute_mac(key, head, last) + last).encode("ascii")

    def read(self, keys: Sequence[bytes], token: bytes) -> list[bytes] | None:
        """The fields of a token whose MAC one of `keys` has made; `None` for any other bytes."""
        if not token.startswith(self._prefix) or len(token) > self._max_bytes:
            return None
        try:
            blob = base64url.decode(token.removeprefix(self._prefix))
        except base64url.Base64UrlError:
            return None
        mac_end = self._head_bytes + _MAC_BYTES
        head, mac, last = blob[: self._head_bytes], blob[self._head_bytes : mac_end], blob[mac_end:]
        if not last or not any(hmac.compare_digest(mac, self._compute_mac(key, head, last)) for key in keys):
            return None
        return [*self._split(head), last]

    def _split(self, head: bytes) -> list[bytes]:
        starts = (0, *self._ends[:-1])
        return [head[start:end] for start, end in zip(starts, self._ends, strict=True)]

    def _compute_mac(self, key: bytes, head: bytes, last: bytes) -> bytes:
        return hmac.digest(key, self._purpose + head + last, "sha256")
