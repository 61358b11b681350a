"""Presigned GET links for S3, as AWS Signature Version 4 defines them for query strings.

The same as botocore's in a tenth of the time, and with a date of our choice, so that every process
makes the same link within a window of time.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from app.media.links import Validity

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """`token` is the session token of temporary credentials, or empty."""

    access_key: str
    secret_key: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Bucket:
    """How a bucket is addressed: `https://host/path/` is where its keys begin."""

    scheme: str
    host: str
    path: str
    region: str


@dataclass(frozen=True, slots=True)
class Target:
    """A key and the headers to answer with, as S3 names them (`response-content-type`, …)."""

    key: str
    overrides: Mapping[str, str]


def presign(
    bucket: Bucket, credentials: Credentials, validity: Validity, targets: Iterable[Target]
) -> list[str]:
    """Return a link to each target."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(validity.since))
    scope = f"{stamp[:8]}/{bucket.region}/s3/aws4_request"
    common = {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(validity.seconds),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.token:
        common["X-Amz-Security-Token"] = credentials.token
    signed = _query(common)
    signing_key = _signing_key(credentials.secret_key, scope)
    links = []
    for target in targets:
        path = bucket.path + quote(target.key, safe="/~")
        query = f"{signed}&{_query(target.overrides)}"  # sorted: `X-Amz-…` before `response-…`
        request = f"GET\n{path}\n{query}\nhost:{bucket.host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = _hmac(signing_key, f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}").hex()
        links.append(f"{bucket.scheme}://{bucket.host}{path}?{query}&X-Amz-Signature={signature}")
    return links


def _query(parameters: Mapping[str, str]) -> str:
    return "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(parameters.items())
    )


def _signing_key(secret_key: str, scope: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.digest(key, message.encode(), "sha256")
