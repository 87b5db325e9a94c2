"""The gateway's own cookie among those of the services, which never see it and never set it (RFC 6265)."""

from __future__ import annotations

from typing import Final

from lockgate.edge.wire import Field

SECURE_NAME: Final = b"__Host-lockgate"
"""Browsers take a cookie of such a name over https only, and without a Domain: no other host can set it."""
LOCALHOST_NAME: Final = b"lockgate-localhost"
"""For plain HTTP on the machine itself, where browsers would not take the other one."""

# Compared without case, because a service may be careless about it.
_OWN_NAMES: Final = frozenset({SECURE_NAME.lower(), LOCALHOST_NAME.lower()})
_COMMON_PART: Final = b"lockgate"


def split_own_cookies(value: bytes) -> tuple[list[Field], bytes]:
    """Separate the gateway's cookies from the others.

    Args:
        value: of a Cookie field.

    Returns:
        Names and values of ours; and what is left, to the byte where none of them was ours.
    """
    if _COMMON_PART not in value.lower():
        return [], value
    ours, others = [], []
    for pair in value.split(b";"):
        name, _, content = pair.partition(b"=")
        if _is_own_cookie(name):
            ours.append((name.strip(b" \t"), content.strip(b" \t")))
        else:
            others.append(pair)
    return ours, b";".join(others).strip(b" \t;") if ours else value


def sets_own_cookie(value: bytes) -> bool:
    """Whether a Set-Cookie field is about the gateway's own cookie. One without a name comes back as if it had one."""
    return _is_own_cookie(value.lstrip(b"= \t").partition(b"=")[0].partition(b";")[0])


def _is_own_cookie(name: bytes) -> bool:
    return name.strip(b" \t").lower() in _OWN_NAMES
