"""Every knob, read from `OMNIVEC_*` once, as one frozen tree."""

from __future__ import annotations

import math
import os
import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import InvalidInput, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent


class LogFormat(StrEnum):
    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class AuthMode(StrEnum):
    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class StoreKind(StrEnum):
    LOCAL = "local"
    S3 = "s3"


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def knob(env: str, default: Any, doc: str) -> Any:
    """Declare one setting: its variable (without the prefix), its default and its meaning."""
    metadata = {"env": f"OMNIVEC_{env}", "doc": doc}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str = knob("HOST", "127.0.0.1", "Address to listen on.")
    port: int = knob("PORT", 8000, "Port to listen on; 0 takes a free one.")
    workers: int = knob("WORKERS", 1, "Server processes. Each loads the models it serves.")
    public_url: str = knob(
        "PUBLIC_URL",
        "",
        "Base URL that clients reach this service under, for links to locally stored media; "
        "empty: the address that the request came to.",
    )
    log_format: LogFormat = knob(
        "LOG_FORMAT", LogFormat.AUTO, "`json`, `console`, or `auto`: console on a terminal."
    )
    log_level: str = knob("LOG_LEVEL", "INFO", "`DEBUG`, `INFO`, `WARNING` or `ERROR`.")
    max_body_bytes: int = knob(
        "MAX_BODY_BYTES", 128 * 2**20, "Largest request body in bytes; beyond it: 413."
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
    )
    pool_size: int = knob("DATABASE_POOL_SIZE", 10, "Connections of each server process.")
    timeout: float = knob("DATABASE_TIMEOUT", 30.0, "Seconds that one statement may take.")
    migrate: bool = knob(
        "MIGRATE", True, "Bring the schema up to date at start; off: `omnivec migrate` does it."
    )


@dataclass(frozen=True, slots=True)
class SearchSettings:
    exact_rows: int = knob(
        "SEARCH_EXACT_ROWS",
        20_000,
        "Up to this many candidate vectors a search computes every distance; beyond it the HNSW "
        "index answers.",
    )
    hnsw_rows: int = knob(
        "SEARCH_HNSW_ROWS",
        50_000,
        "A space of more vectors than this gets an HNSW index, built in the background.",
    )


@dataclass(frozen=True, slots=True)
class MediaSettings:
    store: StoreKind = knob("MEDIA_STORE", StoreKind.LOCAL, "`local` (data directory) or `s3`.")
    link_ttl: int = knob(
        "LINK_TTL", 3600, "Seconds that a presigned link stays valid; at most 604800 (7 days)."
    )
    orphan_ttl: float = knob(
        "ORPHAN_TTL",
        3600.0,
        "Seconds after which media that was stored but whose item was never committed is removed; "
        "longer than any request takes.",
    )
    sweep_interval: float = knob(
        "SWEEP_INTERVAL", 30.0, "Seconds between two rounds of deleting unreferenced media."
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
    s3_secret_key: str = knob("S3_SECRET_KEY", "", "Secret key.")
    s3_addressing: str = knob("S3_ADDRESSING", "auto", "`auto`, `path` or `virtual`.")
    image_max_bytes: int = knob("IMAGE_MAX_BYTES", 20 * 2**20, "Largest image in bytes.")
    image_max_pixels: int = knob("IMAGE_MAX_PIXELS", 50_000_000, "Largest image in pixels.")
    audio_max_bytes: int = knob("AUDIO_MAX_BYTES", 50 * 2**20, "Largest audio in bytes.")
    audio_max_seconds: float = knob("AUDIO_MAX_SECONDS", 600.0, "Longest audio in seconds.")
    fetch_timeout: float = knob("FETCH_TIMEOUT", 20.0, "Seconds that fetching a URL may take.")
    fetch_allow: tuple[IPv4Network | IPv6Network, ...] = knob(
        "FETCH_ALLOW",
        (),
        "Networks that URLs may point to although they are not public, comma-separated "
        "(`10.0.0.0/8,127.0.0.0/8`).",
    )
    decode_workers: int = knob("DECODE_WORKERS", 0, "Decoder processes; 0: one per core, up to 8.")
    decode_timeout: float = knob(
        "DECODE_TIMEOUT", 30.0, "Seconds after which a decoder process is killed."
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
        "PRECISION", Precision.FLOAT32, "Arithmetic of the towers: `float32`, `bfloat16`, …"
    )
    threads: int = knob("TORCH_THREADS", 0, "CPU threads of the towers; 0: one per core.")
    idle_unload: float = knob(
        "MODEL_IDLE_UNLOAD", 0.0, "Seconds without use after which a model is unloaded; 0: never."
    )
    batch_size: int = knob("BATCH_SIZE", 16, "Most inputs that a tower takes at once.")
    batch_delay: float = knob(
        "BATCH_DELAY", 0.002, "Seconds that an input waits for others when the tower is idle."
    )
    queue_size: int = knob(
        "QUEUE_SIZE", 2048, "Inputs that may wait for a model; beyond it: 429 with Retry-After."
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

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the environment.

        Raises InvalidInput that names every variable that is wrong or unknown: a typo must not
        silently leave a default in force.
        """
        source = os.environ if env is None else env
        violations: list[Violation] = []
        known: set[str] = set()
        tree = _read(cls, source, known, violations)
        violations.extend(
            Violation((name,), f"{name}: unknown setting")
            for name in sorted(source)
            if name.startswith("OMNIVEC_") and name not in known
        )
        if violations:
            raise InvalidInput(violations)
        return typing.cast("Settings", tree)


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting as the documentation shows it."""

    env: str
    default: str
    doc: str


def knobs(tree: type[Any] = Settings) -> Iterator[Knob]:
    """Every setting in the order of declaration."""
    hints = typing.get_type_hints(tree)
    for spec in fields(tree):
        if "env" in spec.metadata:
            yield Knob(spec.metadata["env"], render(spec.default), spec.metadata["doc"])
        else:
            yield from knobs(hints[spec.name])


def render(value: Any) -> str:
    """Write a value as its variable would hold it."""
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(map(str, value))
        case Path() if value.is_relative_to(ROOT):
            return str(value.relative_to(ROOT))
        case _:
            return str(value)


def _read(
    tree: type[Any], env: Mapping[str, str], known: set[str], violations: list[Violation]
) -> Any:
    hints = typing.get_type_hints(tree)
    values: dict[str, Any] = {}
    for spec in fields(tree):
        if "env" not in spec.metadata:
            values[spec.name] = _read(hints[spec.name], env, known, violations)
            continue
        name = spec.metadata["env"]
        known.add(name)
        if (text := env.get(name, "").strip()) and spec.default is not MISSING:
            try:
                values[spec.name] = _parse(hints[spec.name], text)
            except ValueError as error:
                violations.append(Violation((name,), f"{name}: {error}"))
    return tree(**values)


def _parse(kind: Any, text: str) -> Any:
    """Turn a variable's text into `kind`; ValueError says what is wrong with it."""
    if typing.get_origin(kind) is tuple:
        return _parse_tuple(typing.get_args(kind)[0], text)
    if isinstance(kind, types.UnionType):  # IPv4Network | IPv6Network
        return ip_network(text)
    if issubclass(kind, StrEnum):
        return _parse_choice(kind, text)
    parsers: dict[type, Callable[[str], Any]] = {
        bool: _parse_bool,
        int: lambda text: _parse_number(int, text),
        float: lambda text: _parse_number(float, text),
        Path: lambda text: Path(text).expanduser().resolve(),
        str: str,
    }
    return parsers[kind](text)


def _parse_tuple(element: Any, text: str) -> tuple[Any, ...]:
    if text.lower() == "none":
        return ()
    return tuple(_parse(element, part.strip()) for part in text.split(",") if part.strip())


def _parse_choice(kind: type[StrEnum], text: str) -> StrEnum:
    try:
        return kind(text.lower())
    except ValueError:
        raise ValueError(f"{text!r} is not one of {', '.join(kind)}") from None


def _parse_number(kind: type[int | float], text: str) -> int | float:
    try:
        number = kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not 0 <= number < math.inf:
        raise ValueError(f"{text!r} is not a finite number of at least 0")
    return number


def _parse_bool(text: str) -> bool:
    match text.lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError(f"{text!r} is neither true nor false")
