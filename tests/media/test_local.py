from __future__ import annotations

import asyncio
import multiprocessing
import os
import stat
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from app.domain.media import MediaRef
from app.errors import NotFound, Unavailable
from app.media.local import LocalStore, signing_key
from app.media.store import new_key, open_store
from app.settings import MediaSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

BASE = "https://search.example:8443/"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path, link_ttl=3600)


def key() -> str:
    return new_key("prj_1", "col_1")


def parts(link: str) -> tuple[MediaRef, int, str]:
    url = urlsplit(link)
    query = parse_qs(url.query, strict_parsing=True)
    ref = MediaRef(url.path.removeprefix("/media/"), query["type"][0])
    return ref, int(query["expires"][0]), query["signature"][0]


async def test_what_is_put_is_there(store: LocalStore, tmp_path: Path) -> None:
    name = key()
    assert not await store.exists(name)
    await store.put(name, b"picture", "image/png")
    assert await store.exists(name)
    assert await store.get(name) == b"picture"
    assert await LocalStore(tmp_path, 3600).get(name) == b"picture"
    await store.delete([name, key()])
    assert not await store.exists(name)
    with pytest.raises(NotFound):
        await store.get(name)
    await store.delete([name])


async def test_an_object_has_what_serving_it_takes(store: LocalStore) -> None:
    name = key()
    await store.put(name, b"picture", "image/png")
    found = store.open(MediaRef(name, "image/png"))
    token = name.rpartition("/")[2]
    assert found.path.read_bytes() == b"picture"
    assert (found.size, found.content_type, found.etag) == (7, "image/png", f'"{token}"')
    assert found.disposition == f'inline; filename="{token}.png"'
    assert abs(found.last_modified - time.time()) < 10
    with pytest.raises(NotFound):
        store.open(MediaRef(key(), "image/png"))
    with pytest.raises(NotFound):
        store.open(MediaRef(name, "text/html"))


async def test_a_link_is_good_until_it_expires(store: LocalStore) -> None:
    refs = [MediaRef(key(), "image/jpeg"), MediaRef(key(), "audio/mpeg")]
    links = store.presign(refs, BASE)
    assert all(link.startswith("https://search.example:8443/media/prj_1/") for link in links)
    for ref, link in zip(refs, links, strict=True):
        named, expires, signature = parts(link)
        assert named == ref
        assert store.verify(ref, expires, signature, time.time())
        assert store.verify(ref, expires, signature, expires - 1)
        assert not store.verify(ref, expires, signature, expires)
        assert 2700 <= expires - time.time() <= 3600
    assert store.presign([], BASE) == []


async def test_links_are_the_same_in_every_process(store: LocalStore, tmp_path: Path) -> None:
    ref = MediaRef(key(), "image/jpeg")
    for _ in range(2):  # twice, should a window end in between
        links = {*store.presign([ref], BASE), *LocalStore(tmp_path, 3600).presign([ref], BASE)}
        if len(links) == 1:
            break
    assert len(links) == 1


async def test_a_link_that_was_touched_is_refused(store: LocalStore, tmp_path: Path) -> None:
    ref = MediaRef(key(), "image/jpeg")
    _, expires, signature = parts(store.presign([ref], BASE)[0])
    now = time.time()
    assert store.verify(ref, expires, signature, now)
    assert not store.verify(ref, expires + 1, signature, now)
    assert not store.verify(MediaRef(ref.key, "text/html"), expires, signature, now)
    assert not store.verify(MediaRef(ref.key, "image/png"), expires, signature, now)
    assert not store.verify(MediaRef(key(), ref.content_type), expires, signature, now)
    last = "0" if signature[-1] != "0" else "1"
    for wrong in ("", signature[:-1], signature[:-1] + last, signature + "0", "é" * 64, "\udc80"):
        assert not store.verify(ref, expires, wrong, now)
    other = LocalStore(tmp_path / "other", 3600)
    assert not other.verify(ref, expires, signature, now)


@pytest.mark.parametrize(
    "bad",
    [
        "../../etc/passwd",
        "prj_1/col_1/../../signing.key",
        "/etc/passwd",
        "prj_1/col_1/" + "g" * 40,
        "prj_1/col_1/" + "a" * 39,
        "prj_1/col_1/" + "a" * 40 + "/x",
        "prj_1/col_1/" + "a" * 40 + "\n",
        "prj_1%2fcol_1/" + "a" * 40,
        "..\\..\\secrets",
        "",
        "\0",
    ],
)
async def test_nothing_outside_can_be_named(store: LocalStore, bad: str) -> None:
    with pytest.raises(NotFound):
        store.open(MediaRef(bad, "image/png"))
    with pytest.raises(ValueError, match="is no media key"):
        await store.put(bad, b"", "image/png")
    with pytest.raises(ValueError, match="is no media key"):
        await store.get(bad)
    with pytest.raises(ValueError, match="is no media key"):
        await store.delete([bad])
    with pytest.raises(ValueError, match="is no media key"):
        store.presign([MediaRef(bad, "image/png")], BASE)


async def test_only_media_is_stored(store: LocalStore) -> None:
    for content_type in ("text/html", "image/svg+xml", "application/pdf", ""):
        with pytest.raises(ValueError, match="is no content type of media"):
            await store.put(key(), b"<script>", content_type)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def test_a_file_is_whole_or_not_there(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    name = key()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable, match="No space left"):
            await store.put(name, b"picture", "image/png")
    assert not await store.exists(name)
    assert files(tmp_path / "media") == []
    await store.put(name, b"picture", "image/png")
    (stored,) = files(tmp_path / "media")
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600


async def test_what_a_crash_left_behind_is_cleared_at_the_next_start(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "media" / ".drafts" / "half"
    half.write_bytes(b"of a process that was killed")
    written, go_on = threading.Event(), threading.Event()

    def sync_slowly(descriptor: int) -> None:
        written.set()
        assert go_on.wait(10)

    name = key()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync_slowly)
        writing = asyncio.create_task(store.put(name, b"picture", "image/png"))
        assert await asyncio.to_thread(written.wait, 10)
        LocalStore(tmp_path, 3600)
        go_on.set()
        await writing
    assert not half.exists()
    assert await store.get(name) == b"picture"


async def test_many_at_once(store: LocalStore) -> None:
    names = [key() for _ in range(50)]
    await asyncio.gather(*(store.put(name, name.encode(), "image/png") for name in names))
    assert await asyncio.gather(*map(store.get, names)) == [name.encode() for name in names]
    await store.delete(names)
    assert not any(await asyncio.gather(*map(store.exists, names)))


def test_the_signing_key_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    secret = signing_key(path)
    assert len(secret) == 32
    assert signing_key(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["signing.key"]


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        keys = pool.map(signing_key, [tmp_path / "signing.key"] * 32, chunksize=1)
    assert len(set(keys)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["signing.key"]


async def test_a_damaged_signing_key_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_bytes(b"short")
    with pytest.raises(Unavailable, match=r"signing\.key"):
        LocalStore(tmp_path, 3600)


async def test_check(store: LocalStore, tmp_path: Path) -> None:
    await store.check()
    (tmp_path / "media").rename(tmp_path / "gone")
    with pytest.raises(Unavailable):
        await store.check()
    with pytest.raises(Unavailable):
        await store.put(key(), b"picture", "image/png")


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="data directory"):
        LocalStore(tmp_path / "file", 3600)


async def test_the_settings_choose_the_store(tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path, media=MediaSettings()))
    assert isinstance(store, LocalStore)
    await store.close()
