"""Separates the gateway's own cookie from the services' cookies (RFC 6265). Services never see or set that cookie."""

from __future__ import annotations

from typing import Final

from lockgate.edge.wire import Field

SECURE_NAME: Final = b"__Host-lockgate"
"""Browsers accept a `__Host-` cookie over https only and without a Domain, so no other host can set this cookie."""
LOCALHOST_NAME: Final = b"lockgate-localhost"
"""For plain HTTP on the machine itself, where browsers refuse `__Host-` cookies."""

# Compared without case, because a service may read cookie names without case.
_OWN_NAMES: Final = frozenset({SECURE_NAME.lower(), LOCALHOST_NAME.lower()})
_COMMON_PART: Final = b"lockgate"


def split_own_cookies(value: bytes) -> tuple[list[Field], bytes]:
    """Separate the gateway's cookies from the services' cookies.

    Args:
        value: the value of a Cookie field.

    Returns:
        Names and values of the gateway's cookies; and the services' cookies, to the byte where there are no others.
    """
    if _COMMON_PART not in value.lower():
        return [], value
    own, others = [], []
    for pair in value.split(b";"):
        name, _, content = pair.partition(b"=")
        if _is_own_cookie(name):
            own.append((name.strip(b" \t"), content.strip(b" \t")))
        else:
            others.append(pair)
    return own, b";".join(others).strip(b" \t;") if own else value


def sets_own_cookie(value: bytes) -> bool:
    """Whether a Set-Cookie field sets the gateway's own cookie.

    A browser sends a nameless cookie `=lockgate=…` back as `lockgate=…`, so leading equals signs are ignored.
    """
    return _is_own_cookie(value.lstrip(b"= \t").partition(b"=")[0].partition(b";")[0])


def _is_own_cookie(name: bytes) -> bool:
    return name.strip(b" \t").lower() in _OWN_NAMES
