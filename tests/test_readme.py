"""The README's tour works as pasted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from app.settings import ROOT

if TYPE_CHECKING:
    from tests.servers.app import Service

README = (ROOT / "README.md").read_text()
PRINTED = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def tour(service: Service) -> list[str]:
    """What each of the tour's blocks prints, run one after the other in one shell."""
    if shutil.which("curl") is None:
        pytest.fail("the tour needs curl")
    blocks = re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert PRINTED in blocks[0]
    mark = "\n===== next =====\n"
    script = f"\nprintf '{mark.encode('unicode_escape').decode()}'\n".join(blocks)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(PRINTED, service.url)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split(mark)


def documents(printed: str) -> list[dict[str, object]]:
    """Parse JSON documents that stand one behind the other."""
    decoder, found, rest = json.JSONDecoder(), [], printed.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


def test_the_tour_creates_a_collection(tour: list[str]) -> None:
    (collection,) = documents(tour[0])
    assert collection["name"] == "tour"


def test_the_tour_indexes_texts_photos_and_sounds(tour: list[str]) -> None:
    assert [entry["indexed"] for entry in documents(tour[1])] == [3, 1, 1, 1, 1, 1]


def test_the_tour_searches_across_kinds(tour: list[str]) -> None:
    kitten, bell, rocket = (entry["results"] for entry in documents(tour[2]))
    assert kitten[0]["metadata"] == {"file": "cat.jpg"}
    assert bell[0]["metadata"] == {"file": "bell.wav"}
    assert rocket[0]["metadata"] == {"file": "rocket.jpg"}


def test_the_tour_filters(tour: list[str]) -> None:
    (shoes,) = documents(tour[3])
    assert [hit["text"] for hit in shoes["results"]] == [
        "Red leather running shoes with white soles"
    ]


def test_the_tour_downloads_what_it_found(tour: list[str]) -> None:
    size = (ROOT / "docs" / "tour" / "coffee.jpg").stat().st_size
    assert f" {size} " in tour[4]
    assert not (ROOT / "found.jpg").exists()


def test_the_tour_cleans_up(tour: list[str]) -> None:
    (deleted,) = documents(tour[5])
    assert deleted["deleted"] is True
