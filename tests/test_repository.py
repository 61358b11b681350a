"""What lies in the repository: nothing huge, nothing of one machine, and containers that add up."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from app.knobs import knobs
from app.settings import ROOT, Settings

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 60 * 2**20
WRITTEN_BY_HAND = {"css", "html", "ini", "js", "md", "mako", "py", "toml", "ts", "yaml", "yml"}

# A directory of somebody's machine, as an absolute path.
MACHINE_PATH = re.compile(
    r"(?<![\w.$~)}/-])/(?:work|root|home/\w+|Users/\w+|opt/(?:pypi|wheels))/\S*"
)
# A line that chooses where packages come from: that is for each machine to say.
PACKAGE_SOURCE = re.compile(
    r"(?:index[-_]?url|find-links|TORCH_INDEX|registry|resolved)\W{1,4}(https?://([^/\"'\s]+))",
    re.IGNORECASE,
)
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:hf|ghp)_[A-Za-z0-9]{30,}"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git holds or would hold: tracked, or new and not ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    paths = (ROOT / name for name in listing.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


@cache
def texts() -> dict[str, str]:
    """The text files among them, by path."""
    found = {}
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found[str(path.relative_to(ROOT))] = content.decode(errors="replace")
    return found


def matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {match.group()}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        for match in pattern.finditer(line)
    ]


def test_no_file_is_over_60_megabytes() -> None:
    assert [path for path in tracked() if path.stat().st_size > LARGEST] == []


def test_no_path_of_one_machine_is_named() -> None:
    assert matches(MACHINE_PATH) == []


def test_no_place_that_packages_come_from_is_named() -> None:
    assert matches(PACKAGE_SOURCE) == []


def test_no_secret_is_committed() -> None:
    assert matches(SECRET) == []


def test_text_files_are_tidy() -> None:
    untidy = [
        name
        for name, text in texts().items()
        if text and name.rpartition(".")[2] in WRITTEN_BY_HAND
        if not text.endswith("\n")
        or text.endswith("\n\n")
        or re.search(r"[ \t\r]$", text, re.MULTILINE)
    ]
    assert untidy == []


def test_constraints_pin_plain_versions_and_cover_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {normal(re.split(r"[\[<>=!~;\s]", requirement)[0]) for requirement in required}
    assert names <= {normal(pin.split("==")[0]) for pin in pins}


def normal(name: str) -> str:
    """Write a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_make_target_has_a_line_of_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    targets = phony[1].split()
    assert {"serve", "test", "lint", "format", "bench", "clean", "help"} <= set(targets)
    listed = subprocess.run(
        ["make", "--no-print-directory"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert {line.split()[1] for line in listed.splitlines()} == set(targets)


def test_files_outside_the_code_name_known_settings_only() -> None:
    known = {knob.env for knob in knobs(Settings)}
    for name in ("Dockerfile", "Makefile", "README.md", "compose.yaml"):
        named = set(re.findall(r"\bOMNIVEC_[A-Z0-9_]*[A-Z0-9]", texts()[name]))
        assert named <= known, f"{name} names settings that do not exist"


# --- Containers: what is checked here without a container engine; hadolint and the Compose
# --- specification's schema are run by `make lint`.


def dockerfile() -> list[tuple[str, str]]:
    """The instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word
    ]


def final_stage() -> list[tuple[str, str]]:
    steps = dockerfile()
    last = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
    return steps[last:]


def test_the_image_runs_as_another_than_root_with_a_health_check() -> None:
    stage = dict(final_stage())
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage["USER"])
    assert "/healthz" in stage["HEALTHCHECK"]
    assert stage["VOLUME"] == "/data"
    environment = dict(word.split("=", 1) for word in shlex.split(stage["ENV"]))
    Settings.from_env(environment)
    assert environment["OMNIVEC_HOST"] == "0.0.0.0"
    assert environment["OMNIVEC_DATA_DIR"] == stage["VOLUME"]


def test_the_image_copies_what_the_build_context_sends() -> None:
    copies = [shlex.split(rest) for word, rest in dockerfile() if word == "COPY"]
    sources = {name for words in copies if "--from=build" not in words for name in words[:-1]}
    assert {"app", "alembic.ini", "migrations", "models"} <= sources
    sent = set(re.findall(r"^!/(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert sources == sent
    assert [name for name in sources if not (ROOT / name).exists()] == []


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def substitute(value: str, env: dict[str, str]) -> str:
    """Fill in `${NAME:-default}` and `${NAME:?message}` as Compose does."""
    return re.sub(
        r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda match: env.get(match[1]) or match[2], value
    )


def test_compose_hands_the_service_settings_that_it_takes() -> None:
    env = {"POSTGRES_PASSWORD": "p", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "s"}
    environment = compose()["services"]["api"]["environment"]
    settings = Settings.from_env({k: substitute(v, env) for k, v in environment.items()})
    assert settings.database.url == "postgresql://omnivec:p@postgres:5432/omnivec"
    assert settings.media.store == "s3"
    assert (settings.media.s3_access_key, settings.media.s3_secret_key) == ("a", "s")


def test_compose_has_no_secret_and_asks_for_each() -> None:
    text = (ROOT / "compose.yaml").read_text()
    example = (ROOT / ".env.example").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert asked == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name


def test_compose_waits_for_healthy_services_and_publishes_on_this_machine_alone() -> None:
    services = compose()["services"]
    assert services["api"]["depends_on"] == {
        name: {"condition": "service_healthy"} for name in ("postgres", "s3")
    }
    for name, service in services.items():
        assert "healthcheck" in service or name == "api"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert "build" in service or re.search(r":[\w.-]*\d[\w.-]*$", service["image"])
    named = {mount.split(":")[0] for service in services.values() for mount in service["volumes"]}
    assert named == set(compose()["volumes"])
