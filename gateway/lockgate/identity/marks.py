"""Marks of verified signatures, in memory that the workers of a node share (docs/decisions/0160).

A mark says one thing: some worker of this node has verified the signature of exactly this token with exactly this set
of keys. It stands for the signature alone. Each check still reads the key id, the claims and the times, and asks Redis.

    memory   a table of sets, each of `WAYS` marks, the newest first
    mark     16 bytes of the keyed BLAKE2b of the token; 8 more bytes of the same digest choose the set
    key      HMAC-SHA256(secret of the node, digest of the verifying keys)

A worker with another set of keys has another key, so it never finds what this one wrote. Only tokens of this gateway's
own issuer may be marked.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import secrets
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives import serialization

from lockgate.keys.keyring import VerificationKey

MARK_BYTES: Final = 16
WAYS: Final = 8
"""Marks in a set. With 8, one of 500 tokens of 100,000 finds its set full; with 1, one of 6 would."""
SETS: Final = 32_768
TABLE_BYTES: Final = MARK_BYTES * WAYS * SETS
"""4 MiB: room for 262,144 marks."""
_SET_BYTES: Final = MARK_BYTES * WAYS
_DIGEST_BYTES: Final = MARK_BYTES + 8


class SharedMarks:
    """The table of marks of one node, and the secret that makes their keys.

    Made once, in the process that forks the workers, before it forks. A worker that is alone makes its own. The table
    begins empty, ends with the last process that has it, and is in no core dump.

    Attributes:
        table: the memory.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self.table = mmap.mmap(-1, TABLE_BYTES)
        if hasattr(mmap, "MADV_DONTDUMP"):  # Linux has it
            self.table.madvise(mmap.MADV_DONTDUMP)

    def for_keys(self, verifying: Mapping[str, VerificationKey]) -> KeyedMarks:
        """The marks of tokens that were verified with exactly these keys, by key id."""
        return KeyedMarks(self.table, hmac.digest(self._secret, _digest_keys(verifying), "sha256"))


class KeyedMarks:
    """Finds and adds the marks of one set of keys.

    Other workers write to the same memory at the same time, and nothing is locked. A set that is read while it is
    written holds, at worst, some bytes of one mark beside some of another; such a mixture is as likely to be the mark
    of a token as any other 16 random bytes.

    Args:
        table: of `TABLE_BYTES`.
        key: of the digest, 32 bytes.
    """

    def __init__(self, table: mmap.mmap, key: bytes) -> None:
        self._table = table
        self._keyed = hashlib.blake2b(key=key, digest_size=_DIGEST_BYTES)

    def digest(self, token: bytes) -> bytes:
        """The keyed digest of a whole token, which `has` and `add` take."""
        keyed = self._keyed.copy()
        keyed.update(token)
        return keyed.digest()

    def has(self, digest: bytes) -> bool:
        """Whether the token with this digest is marked."""
        start = _start_of_set(digest)
        found = self._table.find(digest[:MARK_BYTES], start, start + _SET_BYTES)
        # Between two marks, the end of one and the beginning of the next are no mark.
        return found >= 0 and (found - start) % MARK_BYTES == 0

    def add(self, digest: bytes) -> None:
        """Mark a token whose signature was just verified. The oldest mark of its set goes."""
        start = _start_of_set(digest)
        end = start + _SET_BYTES
        self._table[start:end] = digest[:MARK_BYTES] + self._table[start : end - MARK_BYTES]


def _start_of_set(digest: bytes) -> int:
    return int.from_bytes(digest[MARK_BYTES:], "big") % SETS * _SET_BYTES


def _digest_keys(verifying: Mapping[str, VerificationKey]) -> bytes:
    """One digest for one set of keys, in any order: ids, algorithms and the public keys themselves."""
    digest = hashlib.sha256()
    for kid, key in sorted(verifying.items()):
        public = key.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        for part in (kid.encode("utf-8"), key.alg.encode("ascii"), public):
            digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
