"""Our links against botocore's, byte for byte."""

from __future__ import annotations

import datetime as dt
import time
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from botocore.config import Config

from app.media.links import Validity
from app.media.s3 import addressing
from app.media.sigv4 import Credentials, Target, presign

SINCE = dt.datetime(2027, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
OVERRIDES = {
    "response-cache-control": "private, max-age=31536000, immutable",
    "response-content-disposition": 'inline; filename="a b+ä.jpg"',
    "response-content-type": "image/jpeg",
}


@pytest.mark.parametrize("token", ["", "a/session+token=="])
@pytest.mark.parametrize("style", ["path", "virtual", "auto"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:9000", "https://s3.example/base"])
def test_the_same_links_as_botocore(
    endpoint: str | None, region: str, style: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: SINCE.replace(tzinfo=None))
    client = boto3.session.Session("access", "secret/+", token or None, region).client(
        "s3",
        endpoint_url=endpoint,
        config=Config(signature_version="s3v4", s3={"addressing_style": style}),
    )
    for key in ("p/c/0123abc", "a prefix/with+signs/ü~.jpg"):
        theirs = client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": "bucket",
                "Key": key,
                "ResponseCacheControl": OVERRIDES["response-cache-control"],
                "ResponseContentDisposition": OVERRIDES["response-content-disposition"],
                "ResponseContentType": OVERRIDES["response-content-type"],
            },
            ExpiresIn=3600,
        )
        since = int(SINCE.timestamp())
        (ours,) = presign(
            addressing(client, "bucket"),
            Credentials("access", "secret/+", token),
            Validity(since, since + 3600),
            [Target(key, OVERRIDES)],
        )
        assert urlsplit(ours)[:3] == urlsplit(theirs)[:3]
        assert dict(parse_qsl(urlsplit(ours).query)) == dict(parse_qsl(urlsplit(theirs).query))
    client.close()


def test_a_page_is_signed_in_no_time() -> None:
    client = boto3.session.Session("access", "secret", None, "us-east-1").client(
        "s3", config=Config(signature_version="s3v4")
    )
    bucket = addressing(client, "bucket")
    client.close()
    targets = [Target(f"p/c/{index:040x}", OVERRIDES) for index in range(100)]
    started = time.perf_counter()
    links = presign(bucket, Credentials("access", "secret"), Validity(0, 3600), targets)
    assert time.perf_counter() - started < 0.05
    assert len(set(links)) == 100
