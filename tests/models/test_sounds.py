"""Synthesised sounds are in range, of a sensible length and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from app.encoders.audio import SAMPLE_RATE
from models.recipe.concepts import OF_SOUNDS, concept
from models.recipe.corpus import MAX_WINDOWS, sounds
from models.recipe.sounds import KINDS, Kind, synthesise
from models.recipe.waves import disturbed


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.captions[0])
def test_sound_is_in_range_and_decided_by_its_seed(kind: Kind) -> None:
    for seed in range(4):
        one, again = (synthesise(kind, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one, again)
        assert one.dtype == np.float32
        assert one.ndim == 1
        assert 0.7 * SAMPLE_RATE <= len(one) <= 3.1 * SAMPLE_RATE
        assert 0.1 < np.abs(one).max() <= 1.0
    assert not np.array_equal(one[:1000], synthesise(kind, np.random.default_rng(9))[:1000])


def test_kinds_have_names_of_their_own() -> None:
    names = [kind.captions[0] for kind in KINDS]
    assert len(set(names)) == len(names)
    assert all(f"the sound of {kind.captions[0]}" in kind.captions for kind in KINDS)


def test_corpus_of_sounds_holds_every_kind() -> None:
    part = sounds(1, 1)
    assert part.groups == [kind.captions[0] for kind in KINDS]
    for windows in part.content:
        assert windows.dtype == np.float16
        assert windows.shape[1:] == (96, 64)
        assert 1 <= len(windows) <= MAX_WINDOWS


def test_what_makes_a_sound_is_among_its_captions() -> None:
    captions = dict(zip((part := sounds(1, 1)).groups, part.captions, strict=True))
    assert {"a dog barking", "dog", "a photo of a dog"} <= set(captions["a dog barking"])
    assert all(len(set(each)) == len(each) for each in captions.values())


def test_a_disturbed_recording_stays_a_recording() -> None:
    wave = np.sin(np.arange(SAMPLE_RATE) / 20).astype(np.float32)
    one, other = (disturbed(wave, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.dtype == np.float32
    assert np.abs(one).max() <= 0.95 + 1e-6
    assert 0.8 * len(wave) < len(one) < 1.4 * len(wave)
    assert len(one) != len(other)
    np.testing.assert_array_equal(disturbed(wave, np.random.default_rng(1)), one)


def test_sound_and_emoji_of_one_thing_are_one_concept() -> None:
    assert set(OF_SOUNDS) <= {kind.captions[0] for kind in KINDS}
    assert concept("sounds", "a dog barking") == concept("emoji", "dog") == "dog"
    assert concept("speech", "said dog") == "dog"
    assert concept("sounds", "white noise") == "white noise"
