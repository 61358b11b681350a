"""The decoders and the S3 server that the tests of media share: one of each for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import trustme

from tests.media.samples import decoders as new_decoders
from tests.servers.radosgw import Radosgw, require_programs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from app.media.decoder_pool import Decoders


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def decoders() -> AsyncIterator[Decoders]:
    pool = new_decoders(decode_workers=2)
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody else trusts."""
    return trustme.CA()


@pytest.fixture(scope="session")
def radosgw(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Radosgw]:
    require_programs()
    directory = tmp_path_factory.mktemp("radosgw")
    certificate = write_certificate(authority, directory.with_name("radosgw.pem"))
    server = Radosgw(directory / "cluster", certificate)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def write_certificate(authority: trustme.CA, path: Path) -> Path:
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(path)
    )
    return path
