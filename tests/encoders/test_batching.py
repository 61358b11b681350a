"""Requests of many callers on few threads: what runs together, in which order, and what fails."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.media import ImageInput
from app.domain.modality import Modality
from app.encoders import batching
from app.encoders.audio import log_mel_windows
from app.encoders.cards import AudioTower, Loader, read_card
from app.encoders.recordings import stretches
from app.encoders.registry import SHIPPED, Registry
from app.encoders.service import EncoderService, ModelState
from app.encoders.work import Encoded, Priority
from app.errors import InvalidInput, NotFound, Overloaded, Unavailable
from app.settings import ModelSettings
from tests.encoders.factories import (
    DIMENSIONS,
    HOP,
    WINDOW,
    TinyTowers,
    image,
    text_vector,
    tiny_registry,
    tiny_service,
    tiny_settings,
    vector,
    write_card,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from numpy.typing import NDArray

SEARCH, INDEX, BACKGROUND = Priority
BUNDLED = "multimodal-embedding-v1"


@asynccontextmanager
async def serving(
    models: Path, towers: TinyTowers, **settings: Any
) -> AsyncIterator[EncoderService]:
    service = tiny_service(models, towers, **settings)
    await service.start()
    try:
        await service.ready()
        yield service
    finally:
        towers.gate.set()
        await service.close()


@asynccontextmanager
async def held(
    towers: TinyTowers, service: EncoderService, priority: Priority = SEARCH
) -> AsyncIterator[None]:
    """Keep the thread of a priority busy with one batch; what it is to do meanwhile queues up."""
    towers.gate.clear()
    towers.entered.clear()
    first = asyncio.create_task(service.encode_texts("tiny", ["first"], priority=priority))
    await asyncio.to_thread(towers.entered.wait)
    towers.batches.clear()
    try:
        yield
    finally:
        towers.gate.set()
        await first


def texts(service: EncoderService, *what: str, priority: Priority = SEARCH) -> Awaitable[Encoded]:
    return service.encode_texts("tiny", what, priority=priority)


def images(service: EncoderService, *what: int) -> Awaitable[Encoded]:
    return service.encode_images("tiny", [image(value) for value in what], priority=INDEX)


async def queued(awaitable: Awaitable[Encoded]) -> asyncio.Task[Encoded]:
    """Ask, and let the question reach the queue."""

    async def ask() -> Encoded:
        return await awaitable

    task = asyncio.create_task(ask())
    for _ in range(5):
        await asyncio.sleep(0)
    return task


# What comes back


async def test_vectors_and_tokens_come_in_the_order_asked(tmp_path: Path) -> None:
    async with serving(tmp_path, TinyTowers()) as service:
        words = ["pear", "a", "an apple pie", "fig", "kiwi", "banana", "", "plum"]
        encoded = await texts(service, *words)
    assert encoded.vectors.dtype == np.float32
    expected = np.stack([text_vector(word) for word in words])
    np.testing.assert_allclose(encoded.vectors, expected, rtol=1e-6)
    assert encoded.tokens == [len(word) + 2 for word in words]


async def test_images_count_their_patches(tmp_path: Path) -> None:
    async with serving(tmp_path, TinyTowers()) as service:
        encoded = await images(service, 1, 2, 3)
    expected = np.stack([vector(value * 48) for value in (1, 2, 3)])
    np.testing.assert_allclose(encoded.vectors, expected, rtol=1e-6)
    assert encoded.tokens == [4, 4, 4]


async def test_recording_is_the_mean_of_its_windows(tmp_path: Path) -> None:
    wave = np.arange(75, dtype=np.float32)
    towers = TinyTowers()
    windows = towers.audio_windows(wave)
    async with serving(tmp_path, towers) as service:
        encoded = await service.encode_audios("tiny", [wave, wave[:5]], priority=SEARCH)
    mean = np.mean([vector(each.sum()) for each in windows], axis=0)
    np.testing.assert_allclose(encoded.vectors[0], mean / np.linalg.norm(mean), rtol=1e-5)
    np.testing.assert_allclose(encoded.vectors[1], vector(10.0), rtol=1e-5)
    assert encoded.tokens == [3 * len(windows), 3]


async def test_nothing_asked_is_nothing_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, TinyTowers()) as service:
        encoded = await texts(service)
    assert encoded.vectors.shape == (0, DIMENSIONS)
    assert encoded.tokens == []


# What runs together


async def test_concurrent_requests_share_batches_on_one_thread(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        async with held(towers, service):
            asked = [await queued(texts(service, f"word {n}")) for n in range(8)]
        answers = await asyncio.gather(*asked)
    assert towers.batches == [("text", 4), ("text", 4)]
    assert len(towers.threads) == 1
    assert threading.get_ident() not in towers.threads
    for n, answer in enumerate(answers):
        np.testing.assert_allclose(answer.vectors[0], text_vector(f"word {n}"), rtol=1e-6)


async def test_burst_is_waited_for_when_idle(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers, batch_delay=0.5) as service:
        started = time.perf_counter()
        await asyncio.gather(*(texts(service, f"word {n}") for n in range(4)))
        assert time.perf_counter() - started < 0.4
    assert len(towers.batches) <= 2


async def test_lone_query_does_not_wait(tmp_path: Path) -> None:
    async with serving(tmp_path, TinyTowers(), batch_delay=5.0) as service:
        started = time.perf_counter()
        for word in ("one", "two", "three"):
            await texts(service, word)
        assert time.perf_counter() - started < 1.0


async def test_texts_of_like_length_run_together(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        async with held(towers, service, BACKGROUND):
            towers.tokens.clear()
            words = ["x" * n for n in (1, 13, 2, 12, 1, 13, 2, 12)]
            asked = await queued(texts(service, *words, priority=INDEX))
        encoded = await asked
    assert towers.tokens == [[3, 4, 3, 4], [15, 14, 15, 14]] or [
        sorted(batch) for batch in towers.tokens
    ] == [[3, 3, 4, 4], [14, 14, 15, 15]]
    assert encoded.tokens == [len(word) + 2 for word in words]


async def test_long_texts_run_in_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.encoders.work._TOKENS_PER_INPUT", 6)  # 24 a batch
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        async with held(towers, service, BACKGROUND):
            towers.tokens.clear()
            asked = await queued(texts(service, "x" * 12, "x" * 9, "x", "y", priority=INDEX))
        encoded = await asked
    assert towers.tokens == [[14], [3, 3], [11]]
    assert encoded.tokens == [14, 11, 3, 3]


async def test_windows_of_several_recordings_share_batches(tmp_path: Path) -> None:
    towers = TinyTowers()
    short = np.ones(WINDOW, np.float32)
    long = np.ones(WINDOW + 6 * HOP, np.float32)
    async with serving(tmp_path, towers) as service:
        async with held(towers, service):
            asked = await queued(
                service.encode_audios("tiny", [short, long, short], priority=SEARCH)
            )
        encoded = await asked
    assert towers.batches == [("audio", 4), ("audio", 4), ("audio", 1)]
    assert encoded.tokens == [3, 21, 3]


async def test_batches_of_a_slow_tower_are_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BATCH_SECONDS", 0.0)
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        await images(service, 1, 2, 3)
    assert towers.batches == [("image", 1)] * 3


# Who goes first


async def test_a_search_does_not_wait_for_indexing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BATCH_SECONDS", 60.0)  # however long the gate is closed
    towers = TinyTowers()
    towers.gated = {"image"}
    async with serving(tmp_path, towers) as service:
        towers.gate.clear()
        index = await queued(images(service, *range(12)))
        await asyncio.to_thread(towers.entered.wait)
        async with asyncio.timeout(5):
            assert (await texts(service, "urgent")).tokens == [8]
        assert not index.done()
        towers.gate.set()
        await index
    assert towers.batches == [("image", 4), ("text", 1), ("image", 4), ("image", 4)]
    assert len(towers.threads) == 2


async def test_indexing_does_not_wait_for_searches(tmp_path: Path) -> None:
    towers = TinyTowers()
    towers.gated = {"text"}
    async with serving(tmp_path, towers) as service:
        async with held(towers, service):
            search = [await queued(texts(service, f"{n}")) for n in range(8)]
            async with asyncio.timeout(5):
                await images(service, 1)
            assert not any(each.done() for each in search)
        await asyncio.gather(*search)


async def test_what_nobody_waits_for_goes_last(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        async with held(towers, service, BACKGROUND):
            asked = [await queued(texts(service, "anew", priority=BACKGROUND))]
            asked.append(await queued(images(service, 1, 2)))
        await asyncio.gather(*asked)
    assert towers.batches == [("image", 2), ("text", 1)]


async def test_the_background_is_not_starved_by_indexing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BACKGROUND_PATIENCE", 0.3)
    towers = TinyTowers()
    towers.seconds = 0.01
    async with serving(tmp_path, towers) as service:
        stream = asyncio.create_task(keep_indexing(service))
        await asyncio.to_thread(towers.entered.wait)
        async with asyncio.timeout(10):
            for _ in range(3):
                await texts(service, "anew", priority=BACKGROUND)
        stream.cancel()
        await asyncio.wait([stream])
    assert towers.batches.index(("text", 1)) > 1  # indexing first
    assert towers.batches.count(("text", 1)) == 3


async def keep_indexing(service: EncoderService) -> None:
    """Index without a pause, until cancelled."""

    async def one_after_another() -> None:
        while True:
            await images(service, 1, 2, 3, 4)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(one_after_another())


async def test_oldest_tower_goes_first(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        async with held(towers, service, BACKGROUND):
            asked = [await queued(images(service, 1))]
            asked.append(await queued(texts(service, "later", priority=INDEX)))
        await asyncio.gather(*asked)
    assert towers.batches == [("image", 1), ("text", 1)]


# Too much


async def test_full_queue_refuses_with_the_time_to_come_back(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers, queue_size=10) as service:
        async with held(towers, service, BACKGROUND):
            index = await queued(images(service, *range(8)))
            with pytest.raises(Overloaded) as refused:
                await images(service, 1, 2, 3)
            assert 1.0 <= refused.value.retry_after <= 60.0
            search = await queued(texts(service, "still welcome"))
            more = await queued(images(service, 1, 2))
        await asyncio.gather(index, search, more)
        assert service.stats().waiting == dict.fromkeys(Priority, 0)


async def test_request_larger_than_the_queue_is_taken_when_it_is_empty(tmp_path: Path) -> None:
    async with serving(tmp_path, TinyTowers(), queue_size=2) as service:
        assert len((await images(service, *range(9))).tokens) == 9


async def test_recording_counts_by_the_batches_it_fills(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        async with held(towers, service, BACKGROUND):
            wave = np.zeros(WINDOW + 8 * HOP, np.float32)  # nine windows
            asked = await queued(service.encode_audios("tiny", [wave], priority=INDEX))
            assert service.stats().waiting[INDEX] == 3
        await asked
        assert service.stats().waiting[INDEX] == 0


# Giving up, failing, ending


async def test_cancelled_request_leaves_the_queue(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        async with held(towers, service, BACKGROUND):
            given_up = await queued(images(service, *range(8)))
            kept = await queued(images(service, 1))
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            assert service.stats().waiting[INDEX] == 1
        await kept
    assert towers.batches == [("image", 1)]


async def test_request_cancelled_in_flight_disturbs_nobody(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        towers.gate.clear()
        towers.entered.clear()
        given_up = await queued(images(service, *range(9)))
        await asyncio.to_thread(towers.entered.wait)
        given_up.cancel()
        await asyncio.wait([given_up])
        towers.gate.set()
        assert len((await images(service, 1)).tokens) == 1
        assert service.stats().waiting == dict.fromkeys(Priority, 0)
    assert sum(rows for _, rows in towers.batches) < 10


async def test_failing_tower_fails_only_its_batch(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers) as service:
        async with held(towers, service, BACKGROUND):
            bad = await queued(texts(service, "\N{BOMB}", "b", "c", "d", "e", priority=INDEX))
            good = await queued(texts(service, "fine", priority=SEARCH))
            later = await queued(images(service, 1))
        with pytest.raises(RuntimeError, match="the tower fell"):
            await bad
        np.testing.assert_allclose((await good).vectors[0], text_vector("fine"), rtol=1e-6)
        assert len((await later).tokens) == 1
        assert service.stats().waiting == dict.fromkeys(Priority, 0)
        assert (await texts(service, "again")).tokens == [7]


async def test_closing_finishes_what_runs_and_fails_what_waits(tmp_path: Path) -> None:
    towers = TinyTowers()
    service = tiny_service(tmp_path, towers)
    await service.start()
    await service.ready()
    towers.gate.clear()
    running = await queued(texts(service, "running"))
    await asyncio.to_thread(towers.entered.wait)
    waiting = await queued(texts(service, "waiting"))
    closing = asyncio.create_task(service.close())
    await asyncio.sleep(0.05)
    towers.gate.set()
    await closing
    assert (await running).tokens == [9]
    with pytest.raises(Unavailable, match="shutting down"):
        await waiting
    with pytest.raises(Unavailable):
        await texts(service, "too late")


async def test_pixels_of_another_size_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    async with serving(tmp_path, TinyTowers()) as service:
        with pytest.raises(ValueError, match=r"takes \[4, 4, 3\], not \(5, 4, 3\)"):
            await service.encode_images("tiny", [np.zeros((5, 4, 3), np.uint8)], priority=INDEX)


# Models come and go


async def test_model_is_loaded_once_for_all_who_ask(tmp_path: Path) -> None:
    write_card(tmp_path)
    loads = []

    def load() -> TinyTowers:
        loads.append(threading.get_ident())
        time.sleep(0.05)
        return TinyTowers()

    settings = tiny_settings(tmp_path, preload=())
    service = EncoderService(settings, tiny_registry(settings, load))
    await service.start()
    assert service.state("tiny") is ModelState.UNAVAILABLE
    asked = [await queued(texts(service, f"{n}")) for n in range(5)]
    assert service.state("tiny") is ModelState.LOADING
    asked[0].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, Encoded) for answer in answers[1:])
    assert len(loads) == 1
    assert threading.get_ident() not in loads
    assert service.state("tiny") is ModelState.LOADED
    await service.close()


async def test_failing_load_is_told_and_tried_again(tmp_path: Path) -> None:
    write_card(tmp_path)
    outcomes: list[Any] = [Unavailable("model", "put the weights there"), TinyTowers()]

    def load() -> TinyTowers:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    settings = tiny_settings(tmp_path)
    service = EncoderService(settings, tiny_registry(settings, load))
    await service.start()
    with pytest.raises(Unavailable, match="put the weights there"):
        await service.ready()
    assert service.failure("tiny") is not None
    assert (await texts(service, "now")).tokens == [5]
    assert service.failure("tiny") is None
    await service.ready()
    await service.close()


async def test_slow_failure_is_not_repeated_for_every_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.encoders.service._CHEAP_FAILURE_SECONDS", 0.0)
    write_card(tmp_path)
    attempts = []

    def load() -> TinyTowers:
        attempts.append(1)
        time.sleep(0.2)
        raise Unavailable("model", "the hub does not answer")

    settings = tiny_settings(tmp_path, preload=())
    service = EncoderService(settings, tiny_registry(settings, load))
    await service.start()
    for _ in range(3):
        with pytest.raises(Unavailable, match="does not answer"):
            await texts(service, "now")
    assert len(attempts) == 1
    await asyncio.sleep(0.25)
    with pytest.raises(Unavailable):
        await texts(service, "later")
    assert len(attempts) == 2
    await service.close()


async def test_unknown_preload_is_told_by_ready(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, preload=("nope",))
    service = EncoderService(settings, tiny_registry(settings))
    await service.start()
    with pytest.raises(NotFound):
        await service.ready()
    await service.close()


async def test_idle_model_is_unloaded_and_comes_back(tmp_path: Path) -> None:
    write_card(tmp_path)
    made: list[weakref.ref[TinyTowers]] = []

    def load() -> TinyTowers:
        towers = TinyTowers()
        made.append(weakref.ref(towers))
        return towers

    settings = tiny_settings(tmp_path, idle_unload=0.1)
    service = EncoderService(settings, tiny_registry(settings, load))
    await service.start()
    await service.ready()
    await texts(service, "used")
    async with asyncio.timeout(5):
        while service.state("tiny") is ModelState.LOADED:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    gc.collect()
    assert made[0]() is None
    assert (await texts(service, "used")).tokens == [6]
    assert len(made) == 2
    await service.close()


async def test_model_in_use_is_not_unloaded(tmp_path: Path) -> None:
    towers = TinyTowers()
    async with serving(tmp_path, towers, idle_unload=0.02) as service, held(towers, service):
        await asyncio.sleep(0.15)
        assert service.state("tiny") is ModelState.LOADED


async def test_model_without_a_modality_says_so(tmp_path: Path) -> None:
    write_card(tmp_path, types=["image"], text=None, audio=None)
    settings = tiny_settings(tmp_path)
    service = EncoderService(settings, tiny_registry(settings))
    await service.start()
    with pytest.raises(InvalidInput, match="the model tiny takes no text"):
        await texts(service, "hello")
    with pytest.raises(InvalidInput, match="takes no audio"):
        service.audio_input("tiny")
    with pytest.raises(NotFound):
        await service.encode_texts("nope", ["hello"], priority=SEARCH)
    assert service.image_input("tiny") == ImageInput(4)
    await service.close()


async def test_statistics_count_batches_rows_and_seconds(tmp_path: Path) -> None:
    async with serving(tmp_path, TinyTowers()) as service:
        await images(service, 1, 2, 3)
        await texts(service, "one")
        stats = service.stats()
    assert stats.loaded == ["tiny"]
    image_tower, text_tower = stats.towers
    assert (image_tower.model_id, image_tower.modality) == ("tiny", Modality.IMAGE)
    assert image_tower.rows == 3
    assert sum(rows * count for rows, count in image_tower.sizes.items()) == 3
    assert text_tower.batches == 1
    assert text_tower.seconds > 0


async def test_scores_come_from_the_card(tmp_path: Path) -> None:
    write_card(tmp_path, calibration={"text-image": {"slope": 10, "intercept": -2}})
    settings = tiny_settings(tmp_path)
    service = EncoderService(settings, tiny_registry(settings))
    score = service.score("tiny", Modality.TEXT, Modality.IMAGE, [0.2, 1.0])
    np.testing.assert_allclose(score, [0.5, 0.99966], rtol=1e-4)
    assert service.least_cosine("tiny", Modality.IMAGE, Modality.TEXT, 0.5) == pytest.approx(0.2)
    assert service.cards()[0].id == "tiny"
    assert service.card("tiny").name == "Tiny"


# Long recordings

AUDIO = AudioTower(sample_rate=16_000, window_seconds=0.96, hop_seconds=0.48, tokens_per_window=96)


@given(length=st.integers(0, 400_000), windows=st.integers(1, 20))
def test_stretches_have_the_windows_of_the_whole(length: int, windows: int) -> None:
    def starts(part: NDArray[np.float32]) -> list[float]:
        """Cut as the bundled tower does: a window every 7,680 samples, 15,600 long."""
        count = 1 + max(0, -(-(len(part) - 15_600) // 7_680))
        return [float(part[7_680 * n]) if 7_680 * n < len(part) else -1.0 for n in range(count)]

    samples = np.arange(length, dtype=np.float32)
    parts = stretches(samples, AUDIO, windows)
    assert [start for part, most in parts for start in starts(part)[:most]] == starts(samples)
    assert max(len(part) for part, _ in parts) <= 7_680 * windows + 15_360


def test_stretches_give_the_bundled_front_end_the_same_windows() -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 16_000 * 20 + 77).astype(np.float32)
    audio = read_card(SHIPPED / BUNDLED).audio
    assert audio is not None
    parts = [log_mel_windows(part)[:most] for part, most in stretches(samples, audio, 7)]
    np.testing.assert_allclose(np.concatenate(parts), log_mel_windows(samples), atol=1e-5)


def test_hop_of_a_fraction_of_a_sample_is_not_cut() -> None:
    audio = AudioTower(
        sample_rate=16_000, window_seconds=1.0, hop_seconds=1 / 3, tokens_per_window=1
    )
    samples = np.zeros(160_000, np.float32)
    assert [most for _, most in stretches(samples, audio, 4)] == [None]


# The real thing


async def test_bundled_model_through_the_service(tmp_path: Path) -> None:
    settings = ModelSettings(directory=tmp_path)
    registry = Registry(settings)
    assert registry.entry(BUNDLED).card.loader is Loader.BUNDLED
    model = registry.load(BUNDLED)
    service = EncoderService(settings, registry)
    await service.start()
    await service.ready()
    size = service.image_input(BUNDLED).size
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    wave = rng.normal(0, 0.1, 5 * service.audio_input(BUNDLED).sample_rate).astype(np.float32)
    text, image, audio = await asyncio.gather(
        service.encode_texts(BUNDLED, ["a dog", "a bell"], priority=SEARCH),
        service.encode_images(BUNDLED, list(pixels), priority=INDEX),
        service.encode_audios(BUNDLED, [wave], priority=INDEX),
    )
    await service.close()
    windows = model.towers.encode_audio(model.towers.audio_windows(wave))
    tokens = model.towers.tokenize(["a dog", "a bell"])
    direct = {
        Modality.TEXT: (text, model.towers.encode_texts(tokens)),
        Modality.IMAGE: (image, model.towers.encode_images(pixels)),
        Modality.AUDIO: (audio, windows.mean(axis=0, keepdims=True)),
    }
    for modality, (encoded, raw) in direct.items():
        np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(encoded.vectors, model.finish(modality, raw), atol=1e-4)
    assert text.tokens == [len(each) for each in tokens]
