"""Object storage over the S3 API: files go between client and store directly, by URLs that are signed here."""

from __future__ import annotations

import asyncio
import functools
import importlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from urllib.parse import quote

from pydantic import Field, model_validator

from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_shop.kit.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

T = TypeVar("T")

CONNECT_S: Final = 2
ANSWER_S: Final = 5
"""Seconds that the store may take for one answer, so that two fit into what the gateway waits, 10 s."""
_ORIGIN: Final = r"^https?://[A-Za-z0-9.:\[\]-]+$"


class ObjectSettings(ServiceSettings):
    """The settings of a service that keeps files. Without a bucket it runs, and answers 503 where a file is needed."""

    s3_endpoint: Annotated[str | None, Field(pattern=_ORIGIN)] = None
    """Scheme, host and port of the store; AWS's own of the region where not given."""
    s3_public_endpoint: Annotated[str | None, Field(pattern=_ORIGIN)] = None
    """The same as clients reach it, where that differs. A signed URL is good for the host it was signed for."""
    s3_bucket: Annotated[str | None, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = None
    s3_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = "us-east-1"
    s3_access_key: Annotated[str | None, Field(min_length=1, repr=False)] = None
    s3_secret_key: Annotated[str | None, Field(min_length=1, repr=False)] = None
    """Both or neither; without them boto3 looks where it always does, such as the role of the machine."""

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> Self:
        if (self.s3_access_key is None) != (self.s3_secret_key is None):
            raise ValueError("the access key and the secret key come together")
        return self


@dataclass(frozen=True, slots=True)
class SignedPut:
    """How a client may store one object, once it knows this.

    Attributes:
        url: where to.
        headers: what the request must carry, to the letter; the signature covers them.
    """

    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the store knows of an object.

    Attributes:
        size: bytes.
        content_type: as it was stored with.
    """

    size: int
    content_type: str


class ObjectStore:
    """One bucket. Any method may raise `StoreUnavailableError`: the store is away, refuses us, or is not configured.

    Args:
        settings: where the bucket is, and the keys to it.
    """

    def __init__(self, settings: ObjectSettings) -> None:
        self._settings = settings
        self._clients: dict[str | None, Any] = {}
        self._making = asyncio.Lock()

    async def presign_put(self, key: str, *, content_type: str, content_length: int, expires_s: int) -> SignedPut:
        """A URL under which this many bytes of this type can be stored, and nothing else.

        Args:
            key: the object's name in the bucket; one that was never given out before.
            content_type: of the object.
            content_length: in bytes.
            expires_s: for how long.
        """
        parameters = {"Key": key, "ContentType": content_type, "ContentLength": content_length}
        url = await self._presigned_url("put_object", parameters, expires_s)
        return SignedPut(url, {"Content-Type": content_type, "Content-Length": str(content_length)})

    async def presign_get(self, key: str, *, expires_s: int, download_as: str | None = None) -> str:
        """A URL under which an object can be read.

        Args:
            key: the object's name.
            expires_s: for how long.
            download_as: a file name; with it a browser saves the object, and does not show it.
        """
        parameters = {"Key": key}
        if download_as is not None:
            # RFC 6266 and RFC 8187: encoded, so that no name can end the parameter.
            parameters["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(download_as, safe='')}"
        return await self._presigned_url("get_object", parameters, expires_s)

    async def head_object(self, key: str) -> StoredObject | None:
        """What is stored under `key`; None when nothing is."""
        answer = await self._call_store("head_object", may_be_missing=True, Key=key)
        if answer is None:
            return None
        return StoredObject(int(answer["ContentLength"]), str(answer.get("ContentType", "")))

    async def put_object(self, key: str, body: bytes, *, content_type: str) -> None:
        """Store an object that this service made itself."""
        await self._call_store("put_object", Key=key, Body=body, ContentType=content_type)

    async def move_object(self, key: str, to: str) -> bool:
        """Keep an object under another name, with its type; False when there is none."""
        source = {"Bucket": self._settings.s3_bucket, "Key": key}
        if await self._call_store("copy_object", may_be_missing=True, Key=to, CopySource=source) is None:
            return False
        await self.delete_object(key)
        return True

    async def delete_object(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""
        await self._call_store("delete_object", Key=key)

    async def close(self) -> None:
        """Close every connection."""
        while self._clients:
            self._clients.popitem()[1].close()

    async def _presigned_url(self, operation: str, parameters: dict[str, Any], expires_s: int) -> str:
        client = await self._client_for(self._settings.s3_public_endpoint or self._settings.s3_endpoint)
        given = {"Bucket": self._settings.s3_bucket, **parameters}
        # Half a millisecond of arithmetic, unless keys have to be fetched first: so not on the event loop.
        url: str = await _run_in_thread(
            lambda: client.generate_presigned_url(operation, Params=given, ExpiresIn=expires_s)
        )
        return url

    async def _call_store(
        self, operation: str, *, may_be_missing: bool = False, **parameters: object
    ) -> dict[str, Any] | None:
        """The store's answer; None when it says that nothing is there, where that may be."""
        client = await self._client_for(self._settings.s3_endpoint)
        ask = functools.partial(getattr(client, operation), Bucket=self._settings.s3_bucket, **parameters)
        found: dict[str, Any] | None = await _run_in_thread(
            functools.partial(_unless_missing, ask) if may_be_missing else ask
        )
        return found

    async def _client_for(self, endpoint: str | None) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        if self._settings.s3_bucket is None:
            raise StoreUnavailableError("no object storage is configured")
        async with self._making:
            if endpoint not in self._clients:
                # Half a second the first time, mostly the import: only users of it pay, and the loop goes on.
                self._clients[endpoint] = await _run_in_thread(lambda: _create_client(self._settings, endpoint))
        return self._clients[endpoint]


async def _run_in_thread(work: Callable[[], T]) -> T:
    """Do what blocks in a thread, and translate its faults."""
    try:
        return await asyncio.to_thread(work)
    except Exception as error:
        faults = importlib.import_module("botocore.exceptions")
        if isinstance(error, (faults.BotoCoreError, faults.ClientError)):
            raise StoreUnavailableError(f"object storage: {type(error).__name__}") from error
        raise


def _unless_missing(work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return work()
    except Exception as error:
        answer = getattr(error, "response", {}).get("ResponseMetadata", {})
        if answer.get("HTTPStatusCode") == HTTPStatus.NOT_FOUND:
            return None
        raise


def _create_client(settings: ObjectSettings, endpoint: str | None) -> Any:  # noqa: ANN401 - as `_client_for`
    boto3 = importlib.import_module("boto3")
    config = importlib.import_module("botocore.config").Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        # Others than AWS do not know the checksums that boto3 adds, and a browser cannot send them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=CONNECT_S,
        read_timeout=ANSWER_S,
        retries={"total_max_attempts": 1},  # the client asks again, and knows whether it still wants to
        proxies={},  # the environment's proxies are not for the store, as they are not between services
    )
    session = boto3.session.Session(
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name=settings.s3_region,
    )
    return session.client("s3", endpoint_url=endpoint, config=config)
