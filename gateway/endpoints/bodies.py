"""The body of a call to the gateway itself: JSON or a form, read strictly, and never echoed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.edge import strict_json
from gateway.endpoints.problems import RefusedError, inbound
from gateway.errors import Reason, Refusal

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MAX_JSON_DEPTH: Final = 32
MAX_FORM_FIELDS: Final = 20


class Body(BaseModel):
    """A body's fields; one that is not listed is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


SomeBody = TypeVar("SomeBody", bound=Body)


def body_of(model: type[SomeBody], *, media: tuple[str, ...] = (JSON,)) -> Callable[[Request], Awaitable[SomeBody]]:
    """A dependency that reads the body as `model`.

    Args:
        model: the fields.
        media: the media types that are accepted.

    The dependency raises `RefusedError`: 415 for another media type or a content coding, 400 for what cannot be read
    and for fields that are missing, unknown, repeated or of the wrong type.
    """

    async def read(request: Request) -> SomeBody:
        kind = _media_type(request, media)
        data = await request.body()
        fields = _form(data) if kind == FORM else _json(data)
        if _holds_nul(fields):
            raise RefusedError(Refusal(Reason.UNREADABLE_BODY))
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise RefusedError(Refusal(Reason.INVALID_FIELDS)) from error

    return read


def documented(model: type[Body], *, media: tuple[str, ...] = (JSON,), required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a call whose body `body_of` reads; `required`: there is no other way to call it."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": required, "content": {kind: {"schema": schema} for kind in media}}}


def _holds_nul(value: object) -> bool:
    """Whether there is a NUL in any text: databases cannot store one, and nothing that is typed has one."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_holds_nul, value))


def _media_type(request: Request, media: tuple[str, ...]) -> str:
    headers = inbound(request).headers
    kinds = headers.values(b"content-type")
    kind = kinds[0].decode("latin-1").partition(";")[0].strip().lower() if len(kinds) == 1 else ""
    if kind not in media or headers.values(b"content-encoding"):
        raise RefusedError(Refusal(Reason.UNSUPPORTED_MEDIA, headers=(("Accept", ", ".join(media)),)))
    return kind


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(data, max_depth=MAX_JSON_DEPTH)
    except strict_json.StrictJsonError as error:
        raise RefusedError(Refusal(Reason.UNREADABLE_BODY)) from error
    if not isinstance(value, dict):
        raise RefusedError(Refusal(Reason.INVALID_FIELDS))
    return value


def _form(data: bytes) -> dict[str, str]:
    """A form in which each field stands once (RFC 6749 section 3.2); `a&` is `a` without a value, as forms have it."""
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError as error:
        raise RefusedError(Refusal(Reason.UNREADABLE_BODY)) from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RefusedError(Refusal(Reason.INVALID_FIELDS))
    return fields
