"""The checks of `omnivec doctor`. Each looks at one thing and never raises what it looks for."""

from __future__ import annotations

import resource
import secrets
import shutil
import time
from enum import StrEnum
from typing import TYPE_CHECKING

import av
import PIL
from msgspec import Struct
from PIL import features
from sqlalchemy import text

from app.cli.database import administered
from app.encoders.service import EncoderService
from app.encoders.work import Priority
from app.errors import OmnivecError
from app.media.keys import new_key
from app.media.store import open_store
from app.store import migrate
from app.store.errors import translated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.settings import Settings

LEAST_PGVECTOR = (0, 8)
LEAST_FREE = 1 * 2**30
ENOUGH_FREE = 10 * 2**30
ENOUGH_FILES = 4096
CODECS = ("aac", "flac", "mp3", "opus", "vorbis", "pcm_s16le")

VECTOR_VERSION = text(
    "SELECT current_setting('server_version'), coalesce("
    "(SELECT extversion FROM pg_extension WHERE extname = 'vector'), "
    "(SELECT default_version FROM pg_available_extensions WHERE name = 'vector'))"
)


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct):
    """What a check found; `mend` says what to do about it."""

    name: str
    verdict: Verdict
    detail: str
    mend: str = ""


async def check_database(settings: Settings) -> list[Finding]:
    try:
        async with administered(settings) as engine:
            with translated():
                async with engine.connect() as connection:
                    server, vector = (await connection.execute(VECTOR_VERSION)).one()
            revision = await migrate.current(engine)
    except OmnivecError as error:
        mend = (
            "Is it running, and are host, user and password in OMNIVEC_DATABASE_URL right?"
            if settings.database.url
            else f"See {settings.data_dir / 'postgres' / 'log'}, or name a database of your own "
            "in OMNIVEC_DATABASE_URL."
        )
        return [Finding("database", Verdict.FAIL, error.message, mend)]
    kind = "at OMNIVEC_DATABASE_URL" if settings.database.url else "embedded"
    return [
        Finding("database", Verdict.OK, f"Postgres {server}, {kind}"),
        _pgvector(vector),
        _schema(revision, settings),
    ]


def _pgvector(version: str | None) -> Finding:
    if version is None:
        mend = "Install pgvector for this Postgres: https://github.com/pgvector/pgvector"
        return Finding("pgvector", Verdict.FAIL, "the server does not have it", mend)
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_PGVECTOR:
        mend = "Install 0.8 or later, then: ALTER EXTENSION vector UPDATE"
        return Finding("pgvector", Verdict.FAIL, f"version {version} is too old", mend)
    return Finding("pgvector", Verdict.OK, f"version {version}")


def _schema(revision: str | None, settings: Settings) -> Finding:
    head = migrate.head()
    if revision == head:
        return Finding("schema", Verdict.OK, f"revision {revision}")
    detail = f"revision {revision or 'none'}, {head} is needed"
    if settings.database.migrate:
        return Finding("schema", Verdict.WARN, detail, "`omnivec serve` will bring it up to date.")
    return Finding("schema", Verdict.FAIL, detail, "Run `omnivec migrate`.")


async def check_store(settings: Settings) -> list[Finding]:
    data = secrets.token_bytes(1024)
    key = new_key("doctor", "doctor")
    mend = (
        f"Make {settings.data_dir} writable, or name another place in OMNIVEC_DATA_DIR."
        if settings.media.store == "local"
        else "Check OMNIVEC_S3_ENDPOINT, _BUCKET, _ACCESS_KEY and _SECRET_KEY."
    )
    started = time.perf_counter()
    try:
        store = open_store(settings)
        try:
            await store.check()
            await store.put(key, data, "image/png")
            same = await store.get(key) == data
            await store.delete([key])
            gone = not await store.exists(key)
        finally:
            await store.close()
    except OmnivecError as error:
        return [Finding("store", Verdict.FAIL, error.message, mend)]
    if not (same and gone):
        return [Finding("store", Verdict.FAIL, "it does not keep what it is given", mend)]
    seconds = time.perf_counter() - started
    detail = f"{settings.media.store}: wrote, read and deleted in {seconds * 1000:.0f} ms"
    return [Finding("store", Verdict.OK, detail)]


async def check_models(settings: Settings) -> list[Finding]:
    started = time.perf_counter()
    try:
        encoders = EncoderService(settings.models)
        await encoders.start()
        try:
            await encoders.ready()
            loaded = time.perf_counter()
            default = settings.models.default
            await encoders.encode_texts(default, ["a dog barks"], priority=Priority.SEARCH)
        finally:
            await encoders.close()
    except OmnivecError as error:
        mend = "See `omnivec models list`; OMNIVEC_MODELS_DIR names where their files lie."
        return [Finding("model", Verdict.FAIL, error.message, mend)]
    done = time.perf_counter()
    detail = (
        f"{settings.models.default}: loaded in {loaded - started:.1f} s, "
        f"a text took {(done - loaded) * 1000:.0f} ms"
    )
    return [Finding("model", Verdict.OK, detail)]


async def check_disk(settings: Settings) -> list[Finding]:
    directory = settings.data_dir
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    detail = f"{free / 2**30:.1f} GiB free at {settings.data_dir}"
    mend = "Free some, or name another place in OMNIVEC_DATA_DIR."
    if free < LEAST_FREE:
        return [Finding("disk", Verdict.FAIL, detail, mend)]
    if free < ENOUGH_FREE:
        return [Finding("disk", Verdict.WARN, detail, mend)]
    return [Finding("disk", Verdict.OK, detail)]


async def check_media(_: Settings) -> list[Finding]:
    findings = []
    missing = [name for name in CODECS if name not in av.codecs_available]
    if missing:
        mend = "Install PyAV's own wheel: pip install --force-reinstall av"
        detail = f"FFmpeg (PyAV {av.__version__}) lacks {', '.join(missing)}"
        findings.append(Finding("audio", Verdict.FAIL, detail, mend))
    else:
        findings.append(Finding("audio", Verdict.OK, f"FFmpeg through PyAV {av.__version__}"))
    missing = [name for name in ("webp", "avif", "jpg", "libtiff") if not features.check(name)]
    if missing:
        mend = "Install Pillow's own wheel: pip install --force-reinstall pillow"
        detail = f"Pillow {PIL.__version__} lacks {', '.join(missing)}"
        findings.append(Finding("images", Verdict.FAIL, detail, mend))
    else:
        findings.append(Finding("images", Verdict.OK, f"Pillow {PIL.__version__}, with AVIF"))
    return findings


async def check_limits(_: Settings) -> list[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"{soft} files may be open"
    if soft < ENOUGH_FILES:
        mend = f"Run `ulimit -n {min(hard, 65536)}` first, or set LimitNOFILE of the service."
        return [Finding("limits", Verdict.WARN, detail, mend)]
    return [Finding("limits", Verdict.OK, detail)]


CHECKS: list[Callable[[Settings], Awaitable[list[Finding]]]] = [
    check_database,
    check_store,
    check_models,
    check_media,
    check_disk,
    check_limits,
]
