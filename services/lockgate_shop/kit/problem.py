"""Why a request is refused: the value alone, which rules return. `lockgate_shop.kit.http.problems` renders it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is refused. Services declare theirs as constants beside the rules that use them.

    Attributes:
        status: the HTTP status code.
        code: the stable machine-readable word; what tests assert and logs count.
        title: one sentence for a person, the same for every occurrence.
    """

    status: int
    code: str
    title: str


UNREADABLE_BODY: Final = Problem(400, "unreadable_body", "The body could not be read")
INVALID_FIELDS: Final = Problem(400, "invalid_fields", "Fields are missing, unknown or not valid")
CREDENTIALS_REQUIRED: Final = Problem(401, "credentials_required", "Credentials are required")
INSUFFICIENT_SCOPE: Final = Problem(403, "insufficient_scope", "The access token lacks a scope")
LINK_REFUSED: Final = Problem(403, "link_refused", "This caller may not call this")
NOT_FOUND: Final = Problem(404, "not_found", "Nothing is here")
METHOD_NOT_ALLOWED: Final = Problem(405, "method_not_allowed", "This method is not allowed here")
BODY_TOO_LARGE: Final = Problem(413, "body_too_large", "The body is too large")
UNSUPPORTED_MEDIA: Final = Problem(415, "unsupported_media_type", "This media type is not accepted")
UNSUPPORTED_CHARSET: Final = Problem(415, "unsupported_media_type", "The charset of a body is UTF-8")
UNSUPPORTED_CODING: Final = Problem(415, "unsupported_media_type", "A body has no content coding here")
INTERNAL: Final = Problem(500, "internal_error", "The service failed")
BUSY: Final = Problem(503, "busy", "The service has too much to do")
STORE_AWAY: Final = Problem(503, "store_unavailable", "What is stored cannot be reached")
UPSTREAM_AWAY: Final = Problem(503, "upstream_unavailable", "Another service cannot be reached")
