"""The queue of attempts at passwords in front of the users service.

docs/decisions/0089 says why it is short.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from lockgate.errors import AccountsUnavailableError
from lockgate_common import call_limiter

T = TypeVar("T")

FULL: Final = "too many calls are waiting"
LATE: Final = "no answer in time"


class CallLimiter(call_limiter.CallLimiter):
    """A queue that tells a call that was not made, or that was late, like a users service that is away."""

    async def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of a call, which is made when it is its turn.

        Raises:
            AccountsUnavailableError: the call was not made, or its outcome did not come in time.
        """
        try:
            return await super().run(call)
        except call_limiter.QueueFullError:
            raise AccountsUnavailableError(FULL) from None
        except call_limiter.OutcomeLateError:
            raise AccountsUnavailableError(LATE) from None
