"""The body of a call to the gateway itself: JSON or a form, read strictly, and never echoed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, TypeVar, get_args
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from lockgate.codec import strict_json
from lockgate.edge import media_type
from lockgate.edge.request import InboundRequest
from lockgate.endpoints.problems import RefusedError, inbound_request, invalid_fields, unreadable_body
from lockgate.errors import Reason, Refusal
from lockgate_common.problem import Place

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MAX_JSON_DEPTH: Final = 32
MAX_FORM_FIELDS: Final = 20


class Body(BaseModel):
    """The fields of a body; a field that is not listed is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


NUL: Final = "nul"
"""The rule that a NUL in a text breaks: databases cannot store a NUL, and no keyboard types it."""
FORM_INVALID: Final = "form_invalid"


SomeBody = TypeVar("SomeBody", bound=Body)


@dataclass(frozen=True, slots=True)
class BodyRules(Generic[SomeBody]):
    """The rules for the body of a call.

    Attributes:
        model: the fields.
        media: the media types that are accepted.
    """

    model: type[SomeBody]
    media: tuple[str, ...] = (JSON,)

    async def read(self, request: InboundRequest, receive: Callable[[], Awaitable[bytes]]) -> SomeBody:
        """The body of a request.

        Args:
            request: its head, which is judged first.
            receive: returns the bytes.

        Raises:
            RefusedError: 415 for another media type or charset and for a content coding, with the media types that are
                accepted; 400 for what cannot be read, and for fields that are missing, unknown, repeated or of the
                wrong type, with the names of those that `model` has.
        """
        kind = _media_type(request, self.media)
        data = await receive()
        fields = _parse_form(data, self.model) if kind == FORM else _parse_json(data)
        if _holds_nul(fields):
            raise RefusedError(unreadable_body(NUL))
        try:
            return self.model.model_validate(fields)
        except ValidationError as error:
            faults = ((("body", *one["loc"]), one["type"]) for one in error.errors())
            raise RefusedError(invalid_fields(*faults, known_at=self._names_at)) from error

    def _names_at(self, place: Place) -> list[str]:
        """The names of the members that the object at a place of the body may have."""
        model: type[BaseModel] = self.model
        for name in place[1:]:
            annotation = model.model_fields[str(name)].annotation
            kinds = (annotation, *get_args(annotation))
            model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
        return list(model.model_fields)

    def describe(self, *, required: bool = True) -> dict[str, Any]:
        """The `requestBody` of the description; `required`: the call always has one."""
        content = {kind: {"schema": _schema_of(self.model)} for kind in self.media}
        return {"requestBody": {"required": required, "content": content}}


@cache
def _schema_of(model: type[Body]) -> dict[str, Any]:
    # Kept: to derive it is most of what the description of a call costs.
    schema: dict[str, Any] = _without_null(model.model_json_schema())
    return schema


def _without_null(node: Any) -> Any:  # noqa: ANN401 - a JSON value
    """The same JSON without members that are null, as FastAPI writes it: `"default": null` says nothing."""
    if isinstance(node, dict):
        return {name: _without_null(value) for name, value in node.items() if value is not None}
    return [_without_null(item) for item in node] if isinstance(node, list) else node


def body_of(model: type[SomeBody], *, media: tuple[str, ...] = (JSON,)) -> Callable[[Request], Awaitable[SomeBody]]:
    """A dependency that reads the body by `BodyRules`, and raises what they raise."""
    rules = BodyRules(model, media)

    async def read_body(request: Request) -> SomeBody:
        return await rules.read(inbound_request(request), request.body)

    return read_body


def document_body(model: type[Body], *, media: tuple[str, ...] = (JSON,)) -> dict[str, Any]:
    """The `openapi_extra` of a call that reads its body with `body_of`."""
    return BodyRules(model, media).describe()


def _holds_nul(value: object) -> bool:
    """Whether there is a NUL in any text."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_holds_nul, value))


def _media_type(request: InboundRequest, media: tuple[str, ...]) -> str:
    headers = request.headers
    fields = headers.values_of(b"content-type")
    said = media_type.parse_media_type(fields[0].decode("latin-1") if len(fields) == 1 else "")
    if said.kind not in media:
        raise RefusedError(_refuse_media_type(Reason.UNSUPPORTED_MEDIA, media))
    if not said.is_utf8:
        raise RefusedError(_refuse_media_type(Reason.UNSUPPORTED_CHARSET, media))
    if headers.values_of(b"content-encoding"):
        raise RefusedError(_refuse_media_type(Reason.UNSUPPORTED_CODING, media))
    return said.kind


def _refuse_media_type(reason: Reason, media: tuple[str, ...]) -> Refusal:
    """The refusal of a body's form, which says what would be right (RFC 9110 sections 12.5.3 and 15.5.16)."""
    accept = ("Accept", ", ".join(media))
    coding = (("Accept-Encoding", "identity"),) if reason is Reason.UNSUPPORTED_CODING else ()
    return Refusal(reason, headers=(accept, *coding), members={"accepted": list(media)})


def _parse_json(data: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(data, max_depth=MAX_JSON_DEPTH)
    except strict_json.StrictJsonError as error:
        raise RefusedError(unreadable_body(error.rule, error.position)) from error
    if not isinstance(value, dict):
        raise RefusedError(invalid_fields((("body",), "dict_type")))
    return value


def _parse_form(data: bytes, model: type[Body]) -> dict[str, str]:
    """A form in which each field stands once (RFC 6749 section 3.2); `a&` is `a` without a value, as forms have it."""
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError as error:
        raise RefusedError(unreadable_body(FORM_INVALID)) from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        # Fields of the model are named. Of another repeated field the name is not echoed.
        repeated = [name for name in model.model_fields if names.count(name) > 1]
        raise RefusedError(invalid_fields(*((("body", name), strict_json.REPEATED) for name in repeated or [""])))
    return fields
