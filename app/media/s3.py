"""Media in any S3: AWS, or whatever speaks its protocol."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.errors import NotFound, Unavailable
from app.media import sigv4
from app.media.keys import checked, disposition, safe
from app.media.links import validity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.domain.media import MediaRef
    from app.settings import MediaSettings

T = TypeVar("T")

_THREADS: Final = 16
_CONNECT_SECONDS: Final = 3.0
_READ_SECONDS: Final = 20.0
_ATTEMPTS: Final = 3
_MAX_DELETED_AT_ONCE: Final = 1000
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_OURS_ALREADY: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
# What a key holds never changes, and only who has a link may see it.
_CACHE_CONTROL: Final = "private, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Connection:
    """The client for our own calls, and what links are made of."""

    client: Any
    credentials: Any
    public: sigv4.Bucket


class S3Store:
    """See MediaStore. Calls block, in threads of this store's own; nothing is dialled at once.

    The first call, or `check()`, loads boto3's description of S3, which takes some 0.2 s; before
    that `presign` would have to wait for it.
    """

    def __init__(self, settings: MediaSettings) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket
        prefix = settings.s3_prefix.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")
        self._lock = Lock()
        self._connection: Connection | None = None

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        safe(content_type)
        await self._call(partial(self._put, key, data, content_type))

    async def get(self, key: str) -> bytes:
        def get() -> bytes:
            answer = self._connect().client.get_object(Bucket=self._bucket, Key=self._name(key))
            body: bytes = answer["Body"].read()
            return body

        try:
            return await self._call(get)
        except KeyError:
            raise NotFound("medium", key) from None

    async def exists(self, key: str) -> bool:
        def head() -> None:
            self._connect().client.head_object(Bucket=self._bucket, Key=self._name(key))

        try:
            await self._call(head)
        except KeyError:
            return False
        return True

    async def delete(self, keys: Sequence[str]) -> None:
        names = [self._name(key) for key in keys]
        for start in range(0, len(names), _MAX_DELETED_AT_ONCE):
            some = names[start : start + _MAX_DELETED_AT_ONCE]
            await self._call(partial(self._delete, some))

    def presign(self, media: Sequence[MediaRef], base_url: str) -> list[str]:  # noqa: ARG002
        connection = self._connect()
        frozen = connection.credentials.get_frozen_credentials()
        return sigv4.presign(
            connection.public,
            sigv4.Credentials(frozen.access_key, frozen.secret_key, frozen.token or ""),
            validity(time.time(), self._settings.link_ttl),
            [
                sigv4.Target(
                    self._name(ref.key),
                    {
                        "response-cache-control": _CACHE_CONTROL,
                        "response-content-disposition": disposition(ref.key, ref.content_type),
                        "response-content-type": safe(ref.content_type),
                    },
                )
                for ref in media
            ],
        )

    async def check(self) -> None:
        """See MediaStore. Creates the bucket when it is missing and that is allowed."""
        await self._call(self._ensure_bucket)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        if self._connection is not None:
            self._connection.client.close()

    def _name(self, key: str) -> str:
        return self._prefix + checked(key)

    async def _call(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread. KeyError: there is no such object; Unavailable: all else."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except ClientError as error:
            code = _code(error)
            if code in _MISSING:
                raise KeyError from None
            message = f"S3 answered {code} to {error.operation_name}"
            raise Unavailable("store", message) from error
        except BotoCoreError as error:
            raise Unavailable("store", f"S3 cannot be reached: {error}") from error

    def _connect(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = connect(self._settings)
            return self._connection

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        def put() -> None:
            self._connect().client.put_object(
                Bucket=self._bucket,
                Key=self._name(key),
                Body=data,
                ContentType=content_type,
                ContentDisposition=disposition(key, content_type),
                CacheControl=_CACHE_CONTROL,
            )

        try:
            put()
        except ClientError as error:
            if _code(error) != "NoSuchBucket":
                raise
            self._ensure_bucket()
            put()

    def _delete(self, names: Sequence[str]) -> None:
        """Delete in one request, and one by one what that did not delete."""
        client = self._connect().client
        try:
            answer = client.delete_objects(
                Bucket=self._bucket,
                Delete={"Objects": [{"Key": name} for name in names], "Quiet": True},
            )
            left = [failure["Key"] for failure in answer.get("Errors", [])]
        except ClientError as error:
            if _code(error) == "NoSuchBucket":
                raise
            left = list(names)
        for name in left:
            client.delete_object(Bucket=self._bucket, Key=name)

    def _ensure_bucket(self) -> None:
        client = self._connect().client
        try:
            client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if _code(error) not in {*_MISSING, "NoSuchBucket"}:
                raise
            try:
                client.create_bucket(Bucket=self._bucket, **_placement(self._settings))
            except ClientError as refusal:
                if _code(refusal) not in _OURS_ALREADY:
                    raise


def connect(settings: MediaSettings) -> Connection:
    """Set boto3 up; blocks. Raises a BotoCoreError when there are no credentials."""
    session = boto3.session.Session(
        aws_access_key_id=settings.s3_access_key or None,
        aws_secret_access_key=settings.s3_secret_key or None,
        region_name=settings.s3_region,
    )
    credentials = session.get_credentials()
    if credentials is None:
        raise Unavailable("store", "there are no credentials for S3")
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": settings.s3_addressing},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_THREADS,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = session.client("s3", endpoint_url=settings.s3_endpoint or None, config=config)
    public = client
    if settings.s3_public_endpoint:
        public = session.client("s3", endpoint_url=settings.s3_public_endpoint, config=config)
    return Connection(client, credentials, addressing(public, settings.s3_bucket))


def addressing(client: Any, bucket: str) -> sigv4.Bucket:
    """Learn from one link of botocore's how it addresses the bucket: by host or by path."""
    probe = "probe"
    link = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": probe})
    url = urlsplit(link)
    _, _, region, _, _ = parse_qs(url.query)["X-Amz-Credential"][0].rsplit("/", 4)
    return sigv4.Bucket(url.scheme, url.netloc, url.path.removesuffix(probe), region)


def _placement(settings: MediaSettings) -> dict[str, Any]:
    """Say where a new bucket goes: AWS wants it outside its first region, others know best."""
    if settings.s3_endpoint or settings.s3_region == "us-east-1":
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": settings.s3_region}}


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "an error"))
