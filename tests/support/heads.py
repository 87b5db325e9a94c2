"""Heads of requests, read by a reader that may have read other heads before."""

from __future__ import annotations

import gc
from typing import Any, Final

from lockgate.edge.head import Peer, RequestHeadReader
from lockgate.edge.request import InboundRequest
from lockgate.edge.wire import WireError
from lockgate.errors import Reason
from lockgate.settings import LimitSettings, ServerSettings

PEERS: Final = (Peer("127.0.0.1", trusted=False), Peer("127.0.0.9", trusted=True))


def outcome(reader: RequestHeadReader, head: bytes, peer: Peer) -> InboundRequest | Reason:
    """What one head means to a reader, however it finds out; each request has an id of its own.

    An id that the peer gave is kept, and one that is new for each request is left out.
    """
    try:
        found = reader.parse_repeated(head, peer) or reader.parse_head(head[: reader.find_head_end(head)], peer)
    except WireError as error:
        return error.reason
    return found._replace(request_id="" if found.request_id == found.own_id else found.request_id, own_id="")


def request(
    method: str,
    target: str,
    host: str = "shop.example",
    fields: str = "",
    peer: Peer = PEERS[0],
    **server: Any,  # noqa: ANN401 - any setting
) -> InboundRequest:
    """A request as the edge reads it.

    Args:
        method: as sent.
        target: as sent; its path need not be canonical.
        host: the value of Host.
        fields: more field lines, each ended by CRLF.
        peer: the sender.
        server: settings of `[server]`.

    Raises:
        WireError: the edge refuses the request.
    """
    reader = RequestHeadReader(ServerSettings(**server), LimitSettings())
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode("latin-1")
    return reader.parse_head(head[: reader.find_head_end(head)], peer)


def held_bytes(root: object) -> list[bytes]:
    """All bytes and texts that an object holds, directly or by other objects of this project's modules."""
    found, seen, left = [], set[int](), [root]
    while left:
        one = left.pop()
        if isinstance(one, bytes | str):
            found.append(one if isinstance(one, bytes) else one.encode())
        elif id(one) not in seen and not isinstance(one, type) and not callable(one):
            seen.add(id(one))
            left += gc.get_referents(one)
    return found
