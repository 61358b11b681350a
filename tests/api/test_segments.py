"""Which seconds of a recording a search found, and recordings found by a few of their seconds."""

from __future__ import annotations

import base64
import re
import wave
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.encoders.audio import SAMPLE_RATE
from models.recipe.sounds import KINDS, synthesise
from tests.api.factories import delete, encoded, index, new_collection

if TYPE_CHECKING:
    import httpx
    from numpy.typing import NDArray

    from tests.servers.app import Service

BY_NAME = {kind.captions[0]: kind for kind in KINDS}
ORDER = ("a siren", "rain", "a cricket chirping", "a bell ringing")
SECONDS = 6
PAUSE = 4
MOST_MEGABYTES = 200
PATIENCE = 120  # seconds; two on a machine of its own


def sound(name: str, seed: int, seconds: float = SECONDS) -> NDArray[np.float32]:
    """So many seconds of a kind of sound, drawn anew again and again."""
    source = np.random.default_rng(seed)
    parts: list[NDArray[np.float32]] = []
    while sum(map(len, parts)) < seconds * SAMPLE_RATE:
        parts.append(synthesise(BY_NAME[name], source))
    return np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def audio(*samples: NDArray[np.float32]) -> str:
    """A recording of the parts one after the other, a WAV in base64."""
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.concatenate(samples) * 32_000).astype("<i2").tobytes())
    return base64.b64encode(buffer.getvalue()).decode()


def day(seed: int = 3) -> str:
    """Each kind of ORDER for SECONDS, a PAUSE after it."""
    return audio(*(part for name in ORDER for part in (sound(name, seed), silence(PAUSE))))


def middle(segment: dict[str, float]) -> float:
    assert 0 <= segment["start"] < segment["end"]
    return (segment["start"] + segment["end"]) / 2


def search(api: httpx.Client, path: str, **query: Any) -> dict[str, dict[str, Any]]:
    answer = api.post(f"{path}/search", json=query)
    assert answer.status_code == 200, answer.text
    return {hit["id"]: hit for hit in answer.json()["results"]}


@pytest.fixture(scope="module")
def diary(api: httpx.Client) -> str:
    return new_collection(
        api,
        {"id": "day", "audio_base64": day()},
        {"id": "siren", "audio_base64": encoded("siren.wav")},
        {"id": "words", "text": "a siren"},
        {"id": "cat", "image_base64": encoded("cat.jpg")},
    )


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("kind", ["text", "audio_base64", "example"])
def test_the_seconds_that_match_a_text_a_sound_or_an_item_are_told(
    api: httpx.Client, diary: str, name: str, kind: str
) -> None:
    query: dict[str, Any] = {"text": name}
    if kind != "text":
        query = {"audio_base64": audio(sound(name, seed=11, seconds=3))}
    if kind == "example":
        [item] = index(api, diary, query | {"id": "example"})
        query = {"example": {"positive": [item]}}
    begin = ORDER.index(name) * (SECONDS + PAUSE)
    assert begin <= middle(search(api, diary, **query)["day"]["segment"]) <= begin + SECONDS


def test_only_sounds_have_seconds_and_a_short_one_has_all_of_its_own(
    api: httpx.Client, diary: str
) -> None:
    hits = search(api, diary, image_base64=encoded("cat.jpg"))
    assert {name for name, hit in hits.items() if "segment" in hit} >= {"day", "siren"}
    assert "segment" not in hits["cat"]
    assert "segment" not in hits["words"]
    with wave.open(BytesIO(base64.b64decode(encoded("siren.wav")))) as file:
        seconds = file.getnframes() / file.getframerate()
    assert hits["siren"]["segment"]["start"] <= hits["siren"]["segment"]["end"] <= seconds + 0.01
    brief = sound("a siren", seed=1, seconds=1.25)
    index(api, diary, {"id": "brief", "audio_base64": audio(brief)})
    assert search(api, diary, text="a siren")["brief"]["segment"] == {"start": 0, "end": 1.25}


def test_groups_and_hybrid_searches_tell_the_seconds_as_well(api: httpx.Client, diary: str) -> None:
    found = api.post(
        f"{diary}/search", json={"text": "a siren", "hybrid": True, "content_types": ["audio"]}
    ).json()
    assert all("segment" in hit for hit in found["results"])
    path = new_collection(
        api,
        {"audio_base64": day(), "metadata": {"place": "yard"}},
        {"audio_base64": encoded("bell.wav"), "metadata": {"place": "yard"}},
    )
    answer = {"text": "a siren", "group_by": "place", "diversity": None}
    [group] = api.post(f"{path}/search", json=answer).json()["groups"]
    assert all("segment" in hit for hit in group["results"])


def test_a_few_seconds_of_a_long_recording_are_found_among_others(api: httpx.Client) -> None:
    """Five seconds of a siren in a minute and a half: too few to leave a mark on the mean."""
    street = sound("rain", seed=5, seconds=90)
    start = 50 * SAMPLE_RATE
    street[start : start + 5 * SAMPLE_RATE] = sound("a siren", seed=6, seconds=5)
    others = {
        name: {"audio_base64": audio(sound(name, seed=7))}
        for name in ("rain", "ocean waves", "wind blowing", "applause", "a clock ticking")
    }
    path = new_collection(api, *others.values(), {"id": "street", "audio_base64": audio(street)})
    hits = search(api, path, text="a siren")
    assert next(iter(hits)) == "street"
    assert 50 <= middle(hits["street"]["segment"]) <= 55
    assert list(search(api, path, text="a siren", threshold=hits["street"]["score"] - 0.001)) == [
        "street"
    ]


@pytest.mark.slow
def test_ten_minutes_take_a_bounded_amount_of_memory(service: Service, api: httpx.Client) -> None:
    """As samples 38 MB, as a spectrogram in all 15 MB; the bodies of the requests come on top."""
    path = new_collection(api, {"text": "a siren"})
    minutes = sound("rain", seed=8, seconds=600)
    minutes[-5 * SAMPLE_RATE :] = sound("a siren", seed=9, seconds=5)
    body = audio(minutes)
    process = Path(f"/proc/{service.process_id}")
    (process / "clear_refs").write_text("5")  # Linux: the peak is counted from here
    before = megabytes(process, "VmRSS")
    items = [{"id": "long", "audio_base64": body}]
    api.post(f"{path}/index", json={"items": items}, timeout=PATIENCE).raise_for_status()
    assert megabytes(process, "VmHWM") - before < MOST_MEGABYTES
    hits = search(api, path, text="a siren", content_types=["audio"])
    assert middle(hits["long"]["segment"]) > 595
    (process / "clear_refs").write_text("5")
    before = megabytes(process, "VmRSS")
    answer = api.post(f"{path}/search", json={"audio_base64": body}, timeout=PATIENCE)
    assert megabytes(process, "VmHWM") - before < MOST_MEGABYTES
    assert answer.json()["results"][0]["score"] > 0.99


def megabytes(process: Path, key: str) -> float:
    found = re.search(rf"{key}:\s+(\d+) kB", (process / "status").read_text())
    assert found
    return int(found[1]) / 1024


def test_a_replaced_recording_has_the_seconds_of_the_new_one(api: httpx.Client) -> None:
    path = new_collection(api, {"id": "day", "audio_base64": day()})
    assert search(api, path, text="a bell ringing")["day"]["segment"]["start"] > 25
    index(api, path, {"id": "day", "audio_base64": audio(sound("a bell ringing", seed=4))})
    assert search(api, path, text="a bell ringing")["day"]["segment"]["end"] <= SECONDS
    index(api, path, {"id": "day", "text": "a day"})
    assert "segment" not in search(api, path, text="a bell ringing")["day"]
    assert delete(api, f"{path}/items", {"ids": ["day"]}).json() == {"deleted": 1}
    assert search(api, path, text="a bell ringing") == {}
