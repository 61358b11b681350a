"""The settings tree: what it reads, what it refuses, and that its documentation is complete."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from ipaddress import ip_network
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidInput
from app.knobs import knobs
from app.settings import (
    ROOT,
    Addressing,
    AuthMode,
    Device,
    LogFormat,
    LogLevel,
    Precision,
    Settings,
    StoreKind,
)
from docs import generate_settings


def refusal(**env: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        Settings.from_env({f"OMNIVEC_{name}": text for name, text in env.items()})
    return caught.value


def test_no_variables_give_the_defaults() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert settings.data_dir == ROOT / ".data"
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8000)
    assert settings.media.store is StoreKind.LOCAL
    assert settings.database.url == ""


def test_the_process_environment_is_read_when_no_other_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMNIVEC_PORT", "9001")
    assert Settings.from_env().server.port == 9001


@pytest.mark.parametrize(
    ("name", "text", "where", "value"),
    [
        ("HOST", "0.0.0.0", "server.host", "0.0.0.0"),
        ("HOST", "  ::1 ", "server.host", "::1"),
        ("PORT", "0", "server.port", 0),
        ("PORT", "65535", "server.port", 65535),
        ("WORKERS", "4", "server.workers", 4),
        ("LOG_FORMAT", "json", "server.log_format", LogFormat.JSON),
        ("LOG_LEVEL", "debug", "server.log_level", LogLevel.DEBUG),
        ("AUTH", "REQUIRED", "server.auth", AuthMode.REQUIRED),
        ("DATABASE_URL", "postgresql://u:p@h:1/d", "database.url", "postgresql://u:p@h:1/d"),
        ("DATABASE_TIMEOUT", "2.5", "database.timeout", 2.5),
        ("MIGRATE", "off", "database.migrate", False),
        ("MIGRATE", "True", "database.migrate", True),
        ("LINK_TTL", "604800", "media.link_ttl", 604_800),
        ("S3_ADDRESSING", "path", "media.s3_addressing", Addressing.PATH),
        ("FETCH_ALLOW", "none", "media.fetch_allow", ()),
        (
            "FETCH_ALLOW",
            "10.0.0.0/8, fd00::/8,",
            "media.fetch_allow",
            (ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        ),
        ("DATA_DIR", "/srv/data", "data_dir", Path("/srv/data")),
        ("DATA_DIR", "data", "data_dir", Path.cwd() / "data"),
        ("DATA_DIR", "~/data", "data_dir", Path.home() / "data"),
        ("DEVICE", "cuda", "models.device", Device.CUDA),
        ("PRECISION", "bfloat16", "models.precision", Precision.BFLOAT16),
        ("PRELOAD_MODELS", "a,b", "models.preload", ("a", "b")),
        ("PRELOAD_MODELS", "none", "models.preload", ()),
        ("BATCH_DELAY", "0", "models.batch_delay", 0.0),
    ],
)
def test_a_variable_is_parsed_as_its_type(name: str, text: str, where: str, value: Any) -> None:
    read = attrgetter(where)(Settings.from_env({f"OMNIVEC_{name}": text}))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("knob", list(knobs(Settings)), ids=lambda knob: knob.env)
def test_an_empty_variable_counts_as_unset(knob: Any) -> None:
    assert Settings.from_env({knob.env: " "}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("PORT", "http", "'http' is not a whole number"),
        ("PORT", "80.5", "'80.5' is not a whole number"),
        ("PORT", "-1", "-1 is less than 0"),
        ("PORT", "65536", "65536 is more than 65535"),
        ("PORT", "9" * 400, f"{'9' * 400} is more than 65535"),
        ("WORKERS", "0", "0 is less than 1"),
        ("DATABASE_POOL_SIZE", "0", "0 is less than 1"),
        ("DATABASE_TIMEOUT", "0", "0.0 is less than 0.1"),
        ("LINK_TTL", "604801", "604801 is more than 604800"),
        ("LINK_TTL", "0", "0 is less than 1"),
        ("BATCH_SIZE", "0", "0 is less than 1"),
        ("BATCH_DELAY", "soon", "'soon' is not a number"),
        ("BATCH_DELAY", "nan", "'nan' is not a finite number"),
        ("AUDIO_MAX_SECONDS", "inf", "'inf' is not a finite number"),
        ("MIGRATE", "perhaps", "'perhaps' is neither true nor false"),
        ("LOG_LEVEL", "loud", "'loud' is not one of DEBUG, INFO, WARNING, ERROR"),
        ("S3_ADDRESSING", "dns", "'dns' is not one of auto, path, virtual"),
        ("FETCH_ALLOW", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
    ],
)
def test_a_wrong_value_is_refused(name: str, text: str, complaint: str) -> None:
    assert str(refusal(**{name: text})) == f"OMNIVEC_{name}: {complaint}"


def test_a_network_that_is_none_is_refused() -> None:
    assert "OMNIVEC_FETCH_ALLOW: 'example.com'" in str(refusal(FETCH_ALLOW="example.com"))


def test_every_wrong_variable_is_named_at_once() -> None:
    error = refusal(PORT="x", MIGRATE="x", BATCH_SIZE="x", HOST="fine", COLOUR="blue")
    assert [violation.path for violation in error.violations] == [
        ("OMNIVEC_PORT",),
        ("OMNIVEC_MIGRATE",),
        ("OMNIVEC_BATCH_SIZE",),
        ("OMNIVEC_COLOUR",),
    ]


def test_an_unknown_variable_is_refused_with_the_nearest_known_one() -> None:
    assert str(refusal(PROT="1")) == "OMNIVEC_PROT: unknown setting; did you mean OMNIVEC_PORT?"
    assert str(refusal(XYZZY_PLUGH="")) == "OMNIVEC_XYZZY_PLUGH: unknown setting"


def test_variables_of_others_are_ignored() -> None:
    assert Settings.from_env({"PORT": "x", "PATH": "/bin"}) == Settings()


def test_the_tree_is_frozen() -> None:
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.data_dir = Path("/elsewhere")  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        settings.server.port = 1  # type: ignore[misc]


def test_secrets_stay_out_of_the_repr() -> None:
    settings = Settings.from_env(
        {
            "OMNIVEC_DATABASE_URL": "postgresql://u:hunter2@h/d",
            "OMNIVEC_S3_SECRET_KEY": "hunter3",
        }
    )
    assert "hunter" not in repr(settings)


def test_every_setting_has_its_own_variable_and_a_sentence() -> None:
    listed = list(knobs(Settings))
    assert len({knob.env for knob in listed}) == len(listed)
    assert all(knob.env.startswith("OMNIVEC_") for knob in listed)
    assert all(knob.doc.endswith((".", ").")) for knob in listed)
    assert all("|" not in knob.doc and "\n" not in knob.doc for knob in listed)


def test_the_documentation_lists_every_setting_as_the_code_has_it() -> None:
    expected = generate_settings.document()
    assert generate_settings.TARGET.read_text(encoding="utf-8") == expected, (
        f"docs/settings.md is out of date: python -m docs.generate_settings\n\n{expected}"
    )
