"""A captcha of our own: six digits to read or to hear, made by any node and checked by any other.

The digits are an HMAC of the captcha's id by a secret that is not in Redis, so any node can draw them and Redis holds
no solution, not even a hash of six digits, which is turned back in a moment. Redis holds nothing but the fact that a
captcha is unused. The library `captcha` (and Pillow) is a dependency of the gateway itself, not an extra: without it,
the only defence against guessing would be a lock on accounts (`accounts.throttle`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from lockgate.errors import CaptchaUnavailableError
from lockgate.stores.layout import captcha_key
from lockgate.stores.redis import store_errors
from lockgate_common.call_limiter import BoundedQueue, QueueFullError
from lockgate_common.redis.client import RedisClient

Kind = Literal["png", "wav"]

LIFE_S: Final = 300
DIGITS: Final = 6
MAX_ANSWER: Final = 2048
"""Characters; what a hosted captcha hands out is that long, ours are six."""
_ID_BYTES: Final = 16
_ID_CHARACTERS: Final = 22
_PURPOSE: Final = b"lockgate captcha\0"
_QUEUE_WAIT_S: Final = 2.0
_DRAW_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class CaptchaAnswer:
    """A client's answer to a captcha.

    Attributes:
        id: of the captcha; for a hosted one a text of its provider.
        answer: theirs.
    """

    id: str
    answer: str


class CaptchaCheck(Protocol):
    """Judges answers. Ours is `Captchas`; a hosted captcha is another implementation."""

    async def solved(self, given: CaptchaAnswer, address: str) -> bool:
        """Whether the answer is right, given for the first time, and from this address.

        Raises:
            StoreUnavailableError, CaptchaUnavailableError: it cannot be checked; the caller refuses.
        """


class Captchas:
    """Makes, draws and checks captchas.

    Args:
        redis: remembers which are unused.
        keys: the secrets in use; the first makes the digits, each is tried when they are checked.
    """

    def __init__(self, redis: RedisClient, keys: Callable[[], Sequence[bytes]]) -> None:
        self._redis = redis
        self._keys = keys
        self._drawing = BoundedQueue(at_once=1, wait_s=_QUEUE_WAIT_S)

    async def create(self) -> str:
        """A new captcha; its id.

        Raises:
            StoreUnavailableError: it could not be remembered.
        """
        made = secrets.token_urlsafe(_ID_BYTES)
        with store_errors():
            await self._redis.set(captcha_key(made), "1", ex=LIFE_S)
        return made

    async def draw(self, captcha: str, kind: Kind) -> bytes | None:
        """A captcha as a PNG picture or as WAV sound; `None` where it is unknown, used or too old.

        Raises:
            StoreUnavailableError: Redis did not answer.
            CaptchaUnavailableError: too many are being drawn, or it cannot be drawn.
        """
        if len(captcha) != _ID_CHARACTERS:
            return None
        with store_errors():
            if not await self._redis.exists(captcha_key(captcha)):
                return None
        try:
            async with self._drawing.turn():
                return await _draw_in_process(kind, digits(self._keys()[0], captcha))
        except QueueFullError:
            raise CaptchaUnavailableError("too many are being drawn") from None

    async def solved(self, given: CaptchaAnswer, address: str) -> bool:
        """Whether the answer is right; the captcha is used up by asking. Ours is bound to no address."""
        del address
        if len(given.id) != _ID_CHARACTERS or len(given.answer) > MAX_ANSWER:
            return False
        with store_errors():
            unused = await self._redis.getdel(captcha_key(given.id))
        answer = _typed_digits(given.answer).encode("utf-8", "replace")
        right = [hmac.compare_digest(digits(key, given.id).encode("ascii"), answer) for key in self._keys()]
        return unused is not None and any(right)


def digits(key: bytes, captcha: str) -> str:
    """What a captcha shows."""
    mac = hmac.new(key, _PURPOSE + captcha.encode("ascii", "replace"), hashlib.sha256).digest()
    return str(int.from_bytes(mac, "big") % 10**DIGITS).zfill(DIGITS)


def _typed_digits(answer: str) -> str:
    """An answer without white space, and with the decimal digits of any script as ASCII ones."""
    return "".join(str(unicodedata.decimal(char, char)) for char in answer if not char.isspace())


async def _draw_in_process(kind: Kind, text: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lockgate.accounts.captcha_drawing",
        kind,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_DRAW_S):
            drawn, _ = await process.communicate(text.encode("ascii"))
    except TimeoutError:
        raise CaptchaUnavailableError("drawing takes too long") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0 or not drawn:
        raise CaptchaUnavailableError("it cannot be drawn")
    return drawn
