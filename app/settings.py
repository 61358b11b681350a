"""Every knob, read from `OMNIVEC_*` once, as one frozen tree."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network  # noqa: TC003  # read by get_type_hints
from pathlib import Path
from typing import TYPE_CHECKING

from app.knobs import knob, read

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent


class LogFormat(StrEnum):
    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class AuthMode(StrEnum):
    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class StoreKind(StrEnum):
    LOCAL = "local"
    S3 = "s3"


class Addressing(StrEnum):
    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class MissingStatus(StrEnum):
    NOT_FOUND = "404"
    BAD_REQUEST = "400"


class CreatedStatus(StrEnum):
    OK = "200"
    CREATED = "201"


class Unindexed(StrEnum):
    NOTHING = "nothing"
    METADATA = "metadata"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str = knob("HOST", "127.0.0.1", "Address to listen on.")
    port: int = knob("PORT", 8000, "Port to listen on; 0 takes a free one.", most=65535)
    workers: int = knob("WORKERS", 1, "Server processes. Each loads the models it serves.", least=1)
    public_url: str = knob(
        "PUBLIC_URL",
        "",
        "Base URL that clients reach this service under, for links to locally stored media; "
        "empty: the address that the request came to.",
    )
    log_format: LogFormat = knob(
        "LOG_FORMAT", LogFormat.AUTO, "`json`, `console`, or `auto`: console on a terminal."
    )
    log_level: LogLevel = knob("LOG_LEVEL", LogLevel.INFO, "`DEBUG`, `INFO`, `WARNING` or `ERROR`.")
    max_body_bytes: int = knob(
        "MAX_BODY_BYTES", 128 * 2**20, "Largest request body in bytes; beyond it: 413.", least=1
    )
    auth: AuthMode = knob(
        "AUTH",
        AuthMode.AUTO,
        "`required`: every call needs a key. `off`: none does. `auto`: none does from this "
        "machine (loopback) as long as no key exists.",
    )


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    url: str = knob(
        "DATABASE_URL",
        "",
        "`postgresql://user:password@host:port/name` of a Postgres with pgvector 0.8 or later; "
        "empty: an embedded server in the data directory.",
        secret=True,
    )
    pool_size: int = knob("DATABASE_POOL_SIZE", 10, "Connections of each server process.", least=1)
    timeout: float = knob(
        "DATABASE_TIMEOUT", 30.0, "Seconds that one statement may take.", least=0.1
    )
    migrate: bool = knob(
        "MIGRATE", True, "Bring the schema up to date at start; off: `omnivec migrate` does it."
    )


@dataclass(frozen=True, slots=True)
class SearchSettings:
    exact_rows: int = knob(
        "SEARCH_EXACT_ROWS",
        5_000,
        "Up to this many candidate vectors a search computes every distance; beyond it the HNSW "
        "index answers.",
    )
    hnsw_rows: int = knob(
        "SEARCH_HNSW_ROWS",
        5_000,
        "A space of more vectors than this gets an HNSW index, built in the background.",
    )
    binary_rows: int = knob(
        "SEARCH_BINARY_ROWS",
        2_000_000,
        "A cosine space of more vectors than this gets an index of their signs instead, a sixth "
        "of the size, whose finds are compared in full.",
    )
    fresh_rows: int = knob(
        "SEARCH_FRESH_ROWS",
        10_000,
        "What is written to an indexed space is compared one by one at first. More vectors than "
        "this get an index of their own at once; a tenth of them, when writing pauses.",
        least=1,
    )
    segment_rows: int = knob(
        "SEARCH_SEGMENT_ROWS",
        100_000,
        "Up to this many segments of recordings in a collection a search finds recordings by one "
        "of their parts as well: all are compared. 0: never.",
    )
    index_quiet: float = knob(
        "SEARCH_INDEX_QUIET",
        20.0,
        "Seconds without a write that an HNSW index waits for before it is built. The first of a "
        "space waits 30 times as long at most.",
    )


@dataclass(frozen=True, slots=True)
class MediaSettings:
    store: StoreKind = knob("MEDIA_STORE", StoreKind.LOCAL, "`local` (data directory) or `s3`.")
    link_ttl: int = knob(
        "LINK_TTL",
        3600,
        "Seconds that a presigned link stays valid; at most 604800 (7 days).",
        least=1,
        most=604_800,
    )
    orphan_ttl: float = knob(
        "ORPHAN_TTL",
        3600.0,
        "Seconds after which media that was stored but whose item was never committed is removed; "
        "longer than any request takes.",
    )
    sweep_interval: float = knob(
        "SWEEP_INTERVAL",
        30.0,
        "Seconds between two rounds of deleting unreferenced media.",
        least=0.01,
    )
    s3_bucket: str = knob("S3_BUCKET", "omnivec", "Bucket; created if missing and allowed.")
    s3_prefix: str = knob("S3_PREFIX", "", "Prefix of every key in the bucket.")
    s3_endpoint: str = knob("S3_ENDPOINT", "", "Endpoint URL; empty: AWS.")
    s3_public_endpoint: str = knob(
        "S3_PUBLIC_ENDPOINT", "", "Endpoint that presigned links name; empty: S3_ENDPOINT."
    )
    s3_region: str = knob("S3_REGION", "us-east-1", "Region.")
    s3_access_key: str = knob(
        "S3_ACCESS_KEY", "", "Access key; empty: boto3's own chain of credentials."
    )
    s3_secret_key: str = knob("S3_SECRET_KEY", "", "Secret key.", secret=True)
    s3_addressing: Addressing = knob(
        "S3_ADDRESSING", Addressing.AUTO, "`auto`, `path` or `virtual`."
    )
    image_max_bytes: int = knob("IMAGE_MAX_BYTES", 20 * 2**20, "Largest image in bytes.", least=1)
    image_max_pixels: int = knob(
        "IMAGE_MAX_PIXELS", 50_000_000, "Largest image in pixels.", least=1
    )
    audio_max_bytes: int = knob("AUDIO_MAX_BYTES", 50 * 2**20, "Largest audio in bytes.", least=1)
    audio_max_seconds: float = knob(
        "AUDIO_MAX_SECONDS", 600.0, "Longest audio in seconds.", least=1
    )
    fetch_timeout: float = knob(
        "FETCH_TIMEOUT", 20.0, "Seconds that fetching a URL may take.", least=0.1
    )
    fetch_allow: tuple[IPv4Network | IPv6Network, ...] = knob(
        "FETCH_ALLOW",
        (),
        "Networks that URLs may point to although they are not public, comma-separated "
        "(`10.0.0.0/8,127.0.0.0/8`).",
    )
    decode_workers: int = knob("DECODE_WORKERS", 0, "Decoder processes; 0: one per core, up to 8.")
    decode_timeout: float = knob(
        "DECODE_TIMEOUT", 30.0, "Seconds after which a decoder process is killed.", least=0.1
    )


@dataclass(frozen=True, slots=True)
class ModelSettings:
    directory: Path = knob(
        "MODELS_DIR", ROOT / "models", "Where model cards and checkpoints lie, a folder each."
    )
    default: str = knob(
        "DEFAULT_MODEL", "multimodal-embedding-v1", "Model of collections that name none."
    )
    preload: tuple[str, ...] = knob(
        "PRELOAD_MODELS",
        ("multimodal-embedding-v1",),
        "Models to load at start, comma-separated, or `none`; others load when first used.",
    )
    device: Device = knob("DEVICE", Device.AUTO, "`cpu`, `cuda`, or `auto`: cuda if there.")
    precision: Precision = knob(
        "PRECISION",
        Precision.AUTO,
        "Arithmetic of the towers: `float32`, `bfloat16`, `float16`, or `auto`: float32, but 8-bit "
        "integers in the bundled model's text tower on a CPU.",
    )
    threads: int = knob("TOWER_THREADS", 0, "CPU threads of the towers; 0: one per core.")
    idle_unload: float = knob(
        "MODEL_IDLE_UNLOAD", 0.0, "Seconds without use after which a model is unloaded; 0: never."
    )
    batch_size: int = knob("BATCH_SIZE", 16, "Most inputs that a tower takes at once.", least=1)
    batch_delay: float = knob(
        "BATCH_DELAY", 0.002, "Seconds that an input waits for others when the tower is idle."
    )
    queue_size: int = knob(
        "QUEUE_SIZE",
        2048,
        "Inputs that may wait for a model; beyond it: 429 with Retry-After.",
        least=1,
    )


@dataclass(frozen=True, slots=True)
class VectorizeSettings:
    max_dimensions: int = knob(
        "VECTORIZE_MAX_DIMENSIONS",
        1536,
        "Most dimensions of an index made through the Vectorize API.",
        least=1,
        most=16_000,
    )
    max_indexes: int = knob(
        "VECTORIZE_MAX_INDEXES", 50_000, "Most indexes of a project that the Vectorize API makes."
    )
    unindexed: Unindexed = knob(
        "VECTORIZE_UNINDEXED",
        Unindexed.NOTHING,
        "A filter on a property without a metadata index: `nothing` matches, the `metadata` are "
        "looked at, or it is an `error`.",
    )
    missing_status: MissingStatus = knob(
        "VECTORIZE_MISSING_STATUS",
        MissingStatus.NOT_FOUND,
        "HTTP status where the index does not exist (code 3000): `404` or `400`.",
    )
    created_status: CreatedStatus = knob(
        "VECTORIZE_CREATED_STATUS",
        CreatedStatus.OK,
        "HTTP status where an index was created: `200` or `201`.",
    )
    cursor_ttl: int = knob(
        "VECTORIZE_CURSOR_TTL",
        3600,
        "Seconds that a cursor of a list of vectors stays valid.",
        least=1,
    )


@dataclass(frozen=True, slots=True)
class Settings:
    data_dir: Path = knob(
        "DATA_DIR", ROOT / ".data", "Embedded database, local media and the signing key."
    )
    server: ServerSettings = field(default_factory=ServerSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    vectorize: VectorizeSettings = field(default_factory=VectorizeSettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the environment.

        Raises InvalidInput that names every variable that is wrong or unknown: a typo must not
        silently leave a default in force.
        """
        return read(cls, os.environ if env is None else env)
