"""Replaces upstream addresses in a service's redirects and links, so that the client stays at the gateway.

A service that does not know its public address redirects to its upstream address. A path alone leads the client back
to the requested host, so nothing here is taken from a request. URLs of other addresses pass unchanged.

A service that gets rewritten paths names them in its redirects. Behind such a route every path that the rewrite can
have made becomes the client's again, whether it came with an address or alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from lockgate.setting_values import upstream_address

_WHOLE: Final = frozenset({b"location", b"content-location"})
ADDRESS_FIELDS: Final = _WHOLE | {b"refresh", b"link"}
"""The header fields that hold addresses."""
_REFRESH: Final = re.compile(rb"([^;,]*[;,][ \t]*url[ \t]*=[ \t]*[\"']?)(.*)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"<([^<>]*)>")
_DEFAULT_PORTS: Final = frozenset({80, 443})
_ENDS: Final = frozenset({b"", b"/", b"?", b"#"})
"""What may follow the beginning of a path."""
_SLASHES: Final = b"/\\\t "
"""Characters that a browser reads as a slash, or ignores. Attack: two of them would begin another host's name."""
_SECOND_SLASHES: Final = frozenset({b"/", b"\\", b"\t", b" "})


class Beginnings(NamedTuple):
    """How paths of a route begin, without a slash at the end.

    Attributes:
        asked: where clients ask, with the path that a front proxy removes.
        sent: in requests to the service.
        told: the service was told `asked`, and may have put it before its paths already.
    """

    asked: bytes
    sent: bytes
    told: bool

    def find_asked(self, path: bytes) -> bytes | None:
        """The client's path for a path of the service, with what follows it; `None` where it is none of the route's."""
        if self.told and _begins_with(path, self.asked):
            return path
        if not _begins_with(path, self.sent):
            return None
        rest = path[len(self.sent) :]
        if rest[:1] == b"/" or not self.asked:
            rest = b"/%b" % rest.lstrip(_SLASHES)
        return self.asked + rest


def _begins_with(path: bytes, beginning: bytes) -> bool:
    return path.startswith(beginning) and path[len(beginning) : len(beginning) + 1] in _ENDS


class OwnAddresses:
    """The addresses of some upstreams, in every spelling of a URL.

    Args:
        upstreams: `http://host:port` or `https://host:port`. A service may not know its scheme, so both schemes
            match; a default port may be missing.
        prefix: a path that a front proxy in front of the gateway removes; without a slash at its end.
        rewritten: how clients and the service begin the same paths, see `Beginnings`; `None` where both are alike.
    """

    def __init__(self, upstreams: Iterable[str], prefix: str = "", rewritten: Beginnings | None = None) -> None:
        hosts = b"|".join(map(_authority_pattern, upstreams))
        self._own = re.compile(rb"(?:https?:)?//(?:" + hosts + rb")(?=[/?#]|$)", re.IGNORECASE) if hosts else None
        self._prefix = prefix.encode("ascii")
        self._rewritten = rewritten

    def map_field(self, name: bytes, value: bytes) -> bytes:
        """A field's value, with each URL at these addresses reduced to a path.

        Args:
            name: the field's name in lower case, from `ADDRESS_FIELDS`.
            value: the field's value.
        """
        if name in _WHOLE:
            return self._to_path(value)
        if name == b"refresh":
            match = _REFRESH.fullmatch(value)
            return value if match is None else match[1] + self._to_path(match[2])
        return _TARGET.sub(lambda target: b"<%b>" % self._to_path(target[1]), value)

    def _to_path(self, url: bytes) -> bytes:
        match = None if self._own is None else self._own.match(url)
        if match is not None:
            path = b"/%b" % url[match.end() :].lstrip(_SLASHES)
            asked = None if self._rewritten is None else self._rewritten.find_asked(path)
            return self._prefix + path if asked is None else asked
        if self._rewritten is None or url[:1] != b"/" or url[1:2] in _SECOND_SLASHES:
            return url
        return self._rewritten.find_asked(url) or url


def _authority_pattern(url: str) -> bytes:
    host, port = upstream_address(url)
    name = re.escape(f"[{host}]" if ":" in host else host)
    return f"{name}:{port}".encode() if port not in _DEFAULT_PORTS else f"{name}(?::{port}|:)?".encode()


NO_ADDRESSES: Final = OwnAddresses(())
