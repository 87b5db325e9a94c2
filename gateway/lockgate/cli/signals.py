"""The meaning of each signal, the same for one worker as for a supervisor of several.

| signal                       | `lockgate serve`                                | `lockgate dev` |
|------------------------------|-------------------------------------------------|----------------|
| SIGTERM, SIGINT, SIGQUIT     | stops; requests in flight finish                | the same       |
| SIGINT, after any of these   | stops at once                                   | the same       |
| SIGHUP                       | reloads the rules, and looks at the keys        | stops          |
| SIGUSR1, SIGUSR2             | nothing                                         | the same       |

A terminal that is closed sends SIGHUP, and `dev` belongs to its terminal. By default, each of the last two rows would
end a process at once, with all that it has in flight.
"""

from __future__ import annotations

import signal
from typing import Final

IGNORED: Final = (signal.SIGUSR1, signal.SIGUSR2)


def hold_signals(*numbers: signal.Signals) -> None:
    """Let nothing happen at these signals, until a handler is set; for this process alone.

    A signal that the parent ignores stays ignored (`nohup`). A disposition other than a handler would be inherited by
    children.
    """
    for number in numbers:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _nothing)


def _nothing(*_: object) -> None:
    """Go on."""
