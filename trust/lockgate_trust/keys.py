"""Link keys: one shared secret for each directed link between two services.

A link ``gateway → orders`` has its own key, known to its two ends only. A service that leaks its keys can therefore
speak for itself only, and a signature meant for one service is worth nothing at another.

On disk a link is one file, ``<origin>--<target>.json``, private as `lockgate_trust.private` has it::

    {"origin": "gateway", "target": "orders",
     "keys": [{"id": "gateway.orders.3fa9c2d1", "secret": "<base64url without padding>"}]}

One or two keys: the first one signs, each of them verifies. A key may carry two notes for the tool that rotates it,
which mean nothing here: its ``state``, and ``since`` when.
"""

import base64
import binascii
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from lockgate_trust.private import PrivateFileError, read_private

MIN_SECRET_BYTES: Final = 32
MAX_KEYS_PER_LINK: Final = 2

_MAX_FILE_BYTES: Final = 4096
# A single hyphen only between letters and digits: so "--" can part the two names of a file.
_SERVICE_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_MAX_SERVICE_NAME: Final = 63
_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NOTES: Final = frozenset({"state", "since"})
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")


class LinkKeyError(ValueError):
    """A link key is absent, malformed or badly kept. The text names the file or the link, never a secret."""


@dataclass(frozen=True, slots=True)
class LinkKey:
    """One key of the link from `origin` to `target`.

    Attributes:
        key_id: the RFC 9421 ``keyid``: up to 128 letters, digits, ``.``, ``_``, ``-``.
        origin: name of the service that signs with it, in lower case.
        target: name of the service that verifies with it.
        secret: at least 32 bytes; never shown by `repr`.

    Raises:
        LinkKeyError: one of them is not as described, or the link leads to its own origin.
    """

    key_id: str
    origin: str
    target: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.key_id):
            raise LinkKeyError("a key id is 1 to 128 letters, digits, dots, underscores and hyphens")
        for name in (self.origin, self.target):
            _check_service_name(name)
        if self.origin == self.target:
            raise LinkKeyError(f"link key {self.key_id} leads from {self.origin} to itself")
        if len(self.secret) < MIN_SECRET_BYTES:
            raise LinkKeyError(f"link key {self.key_id} has fewer than {MIN_SECRET_BYTES} bytes")


class LinkKeys:
    """The link keys that one service holds: to sign towards others, to verify what others signed. Does not change.

    Args:
        me: the name of the service that holds them.
        outbound: for each target the keys of the link to it, the one that signs first.
        inbound: for each origin the keys of the link from it.

    Raises:
        LinkKeyError: a key belongs to another link, a link has none or more than two, or two keys share an id or a
            secret.
    """

    __slots__ = ("_inbound", "_origins", "_signing", "me")

    def __init__(
        self,
        *,
        me: str,
        outbound: Mapping[str, Iterable[LinkKey]] | None = None,
        inbound: Mapping[str, Iterable[LinkKey]] | None = None,
    ) -> None:
        _check_service_name(me)
        self.me: Final = me
        leaving = {target: _checked_link(me, target, keys) for target, keys in (outbound or {}).items()}
        arriving = {origin: _checked_link(origin, me, keys) for origin, keys in (inbound or {}).items()}
        _check_distinct([key for keys in (*leaving.values(), *arriving.values()) for key in keys])
        self._signing = MappingProxyType({target: keys[0] for target, keys in leaving.items()})
        self._inbound = MappingProxyType({key.key_id: key for keys in arriving.values() for key in keys})
        self._origins = frozenset(arriving)

    @classmethod
    def from_keys(cls, me: str, keys: Iterable[LinkKey]) -> Self:
        """Sort keys into links by their own origin and target; of a link with two, the first one signs.

        Raises:
            LinkKeyError: as for the class, and for a key of a link that does not touch `me`.
        """
        outbound: dict[str, list[LinkKey]] = {}
        inbound: dict[str, list[LinkKey]] = {}
        for key in keys:
            if me not in {key.origin, key.target}:
                raise LinkKeyError(f"link key {key.key_id} is none of {me}'s")
            if key.origin == me:
                outbound.setdefault(key.target, []).append(key)
            else:
                inbound.setdefault(key.origin, []).append(key)
        return cls(me=me, outbound=outbound, inbound=inbound)

    @classmethod
    def load(cls, directory: str | os.PathLike[str], me: str) -> Self:
        """Read the links that start or end at `me`; the files of other links are not opened.

        Raises:
            LinkKeyError: no file names `me`; or one that does cannot be read, may be read by others, or is malformed.
                The text names the file.
        """
        _check_service_name(me)
        folder = Path(directory)
        outbound = [_read_link(path) for path in sorted(folder.glob(f"{me}--*.json"))]
        inbound = [_read_link(path) for path in sorted(folder.glob(f"*--{me}.json"))]
        if not outbound and not inbound:
            raise LinkKeyError(f"no link key file in {folder} names {me}")
        return cls.from_keys(me, [key for keys in (*outbound, *inbound) for key in keys])

    def outbound(self, target: str) -> LinkKey:
        """The key that signs requests to `target`.

        Raises:
            LinkKeyError: there is no link to it.
        """
        key = self._signing.get(target)
        if key is None:
            raise LinkKeyError(f"{self.me} has no link to {target!r}")
        return key

    def inbound(self, key_id: str) -> LinkKey | None:
        """The key of that id with which another service signs towards this one, or None."""
        return self._inbound.get(key_id)

    @property
    def problem(self) -> str | None:
        """What is wrong with the files of these keys, or None; these were read once, and nothing can be."""
        return None

    @property
    def origins(self) -> frozenset[str]:
        """The services that have a link to this one."""
        return self._origins

    @property
    def targets(self) -> frozenset[str]:
        """The services to which this one has a link."""
        return frozenset(self._signing)

    def __repr__(self) -> str:
        return f"LinkKeys(me={self.me!r}, origins={sorted(self._origins)}, targets={sorted(self._signing)})"


def link_path(directory: str | os.PathLike[str], origin: str, target: str) -> Path:
    """Where the keys of one link live.

    Raises:
        LinkKeyError: a name is not that of a service.
    """
    _check_service_name(origin)
    _check_service_name(target)
    return Path(directory) / f"{origin}--{target}.json"


def make_link_key(origin: str, target: str) -> LinkKey:
    """A fresh key of the link from `origin` to `target`, in memory only.

    Raises:
        LinkKeyError: a name is not that of a service, or both are the same.
    """
    key_id = f"{origin}.{target}.{secrets.token_hex(4)}"
    return LinkKey(key_id, origin, target, secrets.token_bytes(MIN_SECRET_BYTES))


def create_link(directory: str | os.PathLike[str], origin: str, target: str) -> bool:
    """Make the file of a link with one fresh key, unless there is one; make the directory (0700) where it is missing.

    The file appears whole, with mode 0600. Of several processes that do this at once, one wins and the others keep the
    winner's file.

    Returns:
        Whether this call made the file.

    Raises:
        LinkKeyError: a name is not that of a service, or both are the same.
        OSError: the directory cannot be written, or its file system has no hard links.
    """
    path = link_path(directory, origin, target)
    if path.exists():
        return False
    key = make_link_key(origin, target)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The suffix keeps the half-written file out of what `load` looks for.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        _write_private(draft, _as_json(key))
        # A hard link, because unlike a rename it fails where the name is taken.
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _check_service_name(name: str) -> None:
    if len(name) > _MAX_SERVICE_NAME or not _SERVICE_NAME.fullmatch(name):
        raise LinkKeyError(f"{name!r} is not a service name: lower-case letters, digits, single hyphens between them")


def _checked_link(origin: str, target: str, keys: Iterable[LinkKey]) -> tuple[LinkKey, ...]:
    link = tuple(keys)
    if not 1 <= len(link) <= MAX_KEYS_PER_LINK:
        raise LinkKeyError(f"the link {origin}--{target} has {len(link)} keys; it needs one, or two during a rotation")
    for key in link:
        if (key.origin, key.target) != (origin, target):
            raise LinkKeyError(f"link key {key.key_id} is not of the link {origin}--{target}")
    return link


def _check_distinct(keys: list[LinkKey]) -> None:
    # A secret that two links share would let the ends of one speak on the other.
    if len({key.key_id for key in keys}) != len(keys) or len({key.secret for key in keys}) != len(keys):
        raise LinkKeyError("two link keys have the same id or the same secret")


def _read_link(path: Path) -> tuple[LinkKey, ...]:
    try:
        document = _parsed_json(read_private(path, _MAX_FILE_BYTES))
        return _parsed_link(path.stem, document)
    except PrivateFileError as error:
        raise LinkKeyError(str(error)) from error
    except LinkKeyError as error:
        raise LinkKeyError(f"{path}: {error}") from None


def _parsed_link(name: str, document: object) -> tuple[LinkKey, ...]:
    if not isinstance(document, dict) or document.keys() != {"origin", "target", "keys"}:
        raise LinkKeyError("it is not an object of origin, target and keys")
    origin, _, target = name.partition("--")
    if (document["origin"], document["target"]) != (origin, target):
        raise LinkKeyError("its origin and target are not those of its name")
    if not isinstance(document["keys"], list):
        raise LinkKeyError("its keys are not a list")
    return _checked_link(origin, target, [_parsed_key(origin, target, entry) for entry in document["keys"]])


def _parsed_json(content: bytes) -> object:
    # None instead of the decoder's exception, which carries the whole text, secrets included, into tracebacks.
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _parsed_key(origin: str, target: str, entry: object) -> LinkKey:
    if not isinstance(entry, dict) or entry.keys() - _NOTES != {"id", "secret"}:
        raise LinkKeyError("a key is not an object of id and secret")
    key_id, secret = entry["id"], entry["secret"]
    if not isinstance(key_id, str) or not isinstance(secret, str):
        raise LinkKeyError("the id or the secret of a key is not a text")
    return LinkKey(key_id, origin, target, _decoded_secret(secret))


def _decoded_secret(text: str) -> bytes:
    if not _BASE64URL.fullmatch(text):
        raise LinkKeyError("a secret is not base64url without padding")
    try:
        secret = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise LinkKeyError("a secret is not base64url without padding") from None
    if _encoded_secret(secret) != text:
        raise LinkKeyError("a secret is not base64url without padding")
    return secret


def _encoded_secret(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode("ascii")


def _as_json(key: LinkKey) -> bytes:
    entry = {"id": key.key_id, "secret": _encoded_secret(key.secret)}
    return json.dumps({"origin": key.origin, "target": key.target, "keys": [entry]}, indent=2).encode() + b"\n"


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
