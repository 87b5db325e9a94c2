"""The RateLimit-Policy and RateLimit fields (draft-ietf-httpapi-ratelimit-headers-11), of routes and of own calls.

Both fields are lists of RFC 9651: `"user-min";q=600;w=60` is a quota of 600 requests in 60 seconds, and
`"user-min";r=599;t=41` tells that 599 of them are left for the next 41 seconds. There is no partition key (`pk`): the
fields would tell a page, or a shared cache, which user or address a response was counted for.
"""

from __future__ import annotations


def policy_item(name: str, quota: int, window_s: int) -> str:
    """An item of RateLimit-Policy.

    Args:
        name: the name of the limit: letters, digits and hyphens.
        quota: the most requests in a window.
        window_s: the length of the window in seconds.
    """
    return f'"{name}";q={quota};w={window_s}'


def standing_head(name: str) -> str:
    """The begin of an item of RateLimit; the requests that are left, `;t=` and seconds end the item."""
    return f'"{name}";r='


def refused_fields(policies: str, name: str, reset_s: int) -> tuple[tuple[str, str], ...]:
    """The fields of a response to a client over a limit.

    Args:
        policies: the items of all limits that the request counts for.
        name: the limit that is used up.
        reset_s: seconds until there may be more; at least one (RFC 9110 section 10.2.3).
    """
    return (
        ("RateLimit-Policy", policies),
        ("RateLimit", f"{standing_head(name)}0;t={reset_s}"),
        ("Retry-After", str(reset_s)),
    )
