"""What the model learns from and is measured on: pictures and sounds, each with its captions."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from PIL import Image, ImageEnhance

from app.encoders.audio import SAMPLE_RATE, log_mel_windows
from models.recipe.concepts import OF_SOUNDS
from models.recipe.draw import (
    NUMBERS,
    counted_scene,
    emoji_picture,
    noun_phrase,
    scene,
    word_picture,
)
from models.recipe.names import article
from models.recipe.shapes import COLOURS, SHAPES, SIZE
from models.recipe.sounds import KINDS, synthesise
from models.recipe.waves import disturbed, heard_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FONTS = Path("/usr/share/fonts")
MAX_WINDOWS = 6  # of one sound; the rest is left out of training

# Voices of espeak-ng: those trained on, and those kept for calibrating and for measuring.
TRAIN_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-gbcwmd")
TRAIN_VARIANTS = ("", "+f1", "+f2", "+f4", "+f5", "+m3", "+m4", "+m5", "+m6", "+m7", "+m8")
TRAIN_VOICES = tuple(accent + variant for accent in TRAIN_ACCENTS for variant in TRAIN_VARIANTS)
HELD_OUT_SPEAKER = "theo"
CALIBRATION_VOICES = ("en-gb-x-gbclan+m2", "en-gb-scotland+m2")
TEST_VOICES = ("en-gb-x-rp+f3", "en-us+m1")

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass
class Part:
    """Examples of one source: `captions[i]` all fit example i, `groups[i]` says what is the same.

    Pictures are uint8 [225, 225, 3], sounds float16 [windows, 96, 64] log-mel patches.
    """

    source: str
    content: list[NDArray[Any]] = field(default_factory=list)
    captions: list[tuple[str, ...]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def add(self, content: NDArray[Any], captions: tuple[str, ...], group: str) -> None:
        self.content.append(content)
        self.captions.append(captions)
        self.groups.append(group)

    def __len__(self) -> int:
        return len(self.content)

    def sample(self, seed: int, most: int) -> Part:
        """At most so many of the examples, in their order."""
        if len(self) <= most:
            return self
        part = Part(self.source)
        for place in sorted(random.Random(seed).sample(range(len(self)), most)):
            part.add(self.content[place], self.captions[place], self.groups[place])
        return part


def clothing(kit: Path, splits: tuple[str, ...], views: int = 1, seed: int = 0) -> Part:
    """Photos of clothes and shoes; a group is one of ten names.

    The first of a photo's `views` is the whole of it, the others are parts, changed a little.
    """
    part, source = Part("clothing"), random.Random(seed)
    for record, data in _records(kit / "clothing.tar", splits):
        name = record["labels"][-1].replace("_", " ").lower()
        captions = (f"a photo of {article(name)}", name, article(name))
        for pixels in _views(data, views, source):
            part.add(pixels, captions, name)
    return part


def grocery(kit: Path, splits: tuple[str, ...], views: int = 1, seed: int = 0) -> Part:
    """Photos of food, with views as of clothing.

    Captions go from the finest name to the description's first sentence.
    """
    part, source = Part("grocery"), random.Random(seed)
    for record, data in _records(kit / "grocery.tar", splits):
        names = record["labels"]
        said = record["description"].split(". ")[0]
        photographed = tuple(f"a photo of {article(name)}" for name in names[1:])
        captions = (f"a photo of {names[-1]}", *names[1:], *photographed, said)
        for pixels in _views(data, views, source):
            part.add(pixels, captions, names[-1])
    return part


def emoji(kit: Path, seed: int, renderings: int, split: str = "val") -> Part:
    """Every emoji, drawn so many times on grounds of all kinds; captions are its Unicode names.

    Some grounds are parts of the photos of one split.
    """
    part, source = Part("emoji"), random.Random(seed)
    photos = [Image.fromarray(one) for one in grocery(kit, (split,)).sample(seed, 400).content]
    for record, data in _records(kit / "emoji.tar", None):
        drawn = Image.open(io.BytesIO(data)).convert("RGBA")
        names = tuple(record["names"])
        if not names:
            continue
        captions = (*names, f"an emoji of {names[0]}")
        for _ in range(renderings):
            part.add(emoji_picture(source, drawn, photos), captions, names[0])
    return part


def scenes(seed: int, number: int) -> Part:
    """Rendered shapes: counted, placed, patterned or related to each other."""
    part, source = Part("scenes"), random.Random(seed)
    for _ in range(number):
        picture = scene(source)
        part.add(picture.pixels, picture.captions, picture.group)
    return part


def counted_scenes(seed: int, number: int) -> Part:
    """Pictures for measuring, no two of the same count, colour and shape."""
    part, source = Part("scenes"), random.Random(seed)
    every = [(n, c, s) for n in range(1, len(NUMBERS)) for c in COLOURS for s in SHAPES]
    for count, colour, shape in source.sample(every, number):
        picture = counted_scene(source, count, colour, shape)
        part.add(picture.pixels, (noun_phrase(count, colour, shape),), picture.group)
    return part


def written_words(kit: Path, seed: int, number: int) -> Part:
    """Words of the vocabulary in every font of the machine; none installed is SystemExit."""
    part, source = Part("words"), random.Random(seed)
    fonts = sorted(FONTS.rglob("*.ttf"))
    if not fonts:
        raise SystemExit(f"no TrueType font below {FONTS}: install fonts-dejavu, fonts-liberation")
    words = vocabulary(kit)
    for _ in range(number):
        word = source.choice(words)
        captions = (f'the word "{word}"', f"a sign that says {word}", f"{word} in writing")
        part.add(word_picture(source, word, fonts), captions, f"written {word}")
    return part


def digits(
    kit: Path, splits: tuple[str, ...], *, held_out: bool, views: int = 1, seed: int = 0
) -> Part:
    """Digits that people said: those of the speaker who is never trained on, or the others'.

    The first of `views` is the recording, the others are faster or slower, higher or lower, and
    as if of other speakers.
    """
    part, source = Part("digits"), np.random.default_rng(seed)
    for record, data in _records(kit / "spoken-digits.tar", splits):
        if (record["speaker"] == HELD_OUT_SPEAKER) is held_out:
            word, wave = DIGITS[record["digit"]], _decode(data)
            part.add(_windows(wave), _said(word), f"said {word}")
            for _ in range(views - 1):
                windows = _windows(disturbed(wave, source)).astype(np.float64)
                heard = heard_elsewhere(windows, source).astype(np.float16)
                part.add(heard, _said(word), f"said {word}")
    return part


def spoken_words(kit: Path, voices: tuple[str, ...], number: int) -> Part:
    """The first words of the vocabulary in each voice."""
    part = Part("speech")
    for voice in voices:
        for word in vocabulary(kit)[:number]:
            part.add(_windows(_speak(word, voice)), _said(word), f"said {word}")
    return part


def spoken_differently(kit: Path, seed: int, number: int, times: int) -> Part:
    """The first words of the vocabulary and the digits, each so many times: for training.

    Every time in another training voice, pitch and speed, in a room or with noise.
    """
    part, voices, source = Part("speech"), random.Random(seed), np.random.default_rng(seed)
    for word in dict.fromkeys((*vocabulary(kit)[:number], *DIGITS)):
        for voice in voices.sample(TRAIN_VOICES, times):
            pitch, speed = voices.randint(20, 80), voices.randint(130, 210)
            wave = disturbed(_speak(word, voice, pitch, speed), source)
            part.add(_windows(wave), _said(word), f"said {word}")
    return part


def sounds(seed: int, each: int) -> Part:
    """So many synthesised sounds of each kind; a group is the kind's name.

    What makes a sound is among its captions, so that the sound finds pictures of that too.
    """
    part, source = Part("sounds"), np.random.default_rng(seed)
    for kind in KINDS:
        captions = kind.captions
        if kind.captions[0] in OF_SOUNDS:
            maker = OF_SOUNDS[kind.captions[0]]
            captions = tuple(dict.fromkeys((*captions, maker, f"a photo of {article(maker)}")))
        for _ in range(each):
            part.add(_windows(synthesise(kind, source)), captions, kind.captions[0])
    return part


def vocabulary(kit: Path) -> list[str]:
    """Plain words that the kit's captions use, the most frequent first."""
    counts: dict[str, int] = {}
    for record, _ in _records(kit / "emoji.tar", None):
        for word in " ".join(record["names"]).lower().split():
            if word.isalpha() and word.isascii() and 3 <= len(word) <= 10:
                counts[word] = counts.get(word, 0) + 1
    return sorted(counts, key=lambda word: (-counts[word], word))


def _said(word: str) -> tuple[str, ...]:
    return (word, f'a voice saying "{word}"', f'the spoken word "{word}"')


def _records(
    archive: Path, splits: tuple[str, ...] | None
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield the records of a tar's `captions.jsonl` with their files, those of `splits` only."""
    with tarfile.open(archive) as tar:
        members = {member.name: member for member in tar.getmembers()}
        (listing,) = (name for name in members if name.endswith("captions.jsonl"))
        lines = _read(tar, members[listing]).decode().splitlines()
        for record in map(json.loads, lines):
            if splits is None or record["split"] in splits:
                yield record, _read(tar, members[record["file"]])


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _views(data: bytes, views: int, source: random.Random) -> Iterator[NDArray[np.uint8]]:
    """Yield a photo whole, then parts of it: cut out, some mirrored, lighter or darker."""
    with Image.open(io.BytesIO(data)) as photo:
        photo.draft("RGB", (2 * SIZE, 2 * SIZE))
        whole = photo.convert("RGB")
    yield np.asarray(whole.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    for _ in range(views - 1):
        width, height = (int(side * source.uniform(0.65, 1.0)) for side in whole.size)
        left = source.randint(0, whole.width - width)
        top = source.randint(0, whole.height - height)
        box = (left, top, left + width, top + height)
        part = whole.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
        if source.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            part = change(part).enhance(source.uniform(0.75, 1.25))
        yield np.asarray(part)


def _windows(samples: NDArray[np.float32]) -> NDArray[np.float16]:
    return log_mel_windows(samples)[:MAX_WINDOWS].astype(np.float16)


def _decode(data: bytes) -> NDArray[np.float32]:
    """Decode a recording to 16 kHz mono."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    with av.open(io.BytesIO(data), mode="r") as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


def _speak(word: str, voice: str, pitch: int = 50, speed: int = 175) -> NDArray[np.float32]:
    """Say a word with espeak-ng; SystemExit if it is not installed.

    Pitch is from 0 to 99, speed in words a minute.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise SystemExit("espeak-ng is missing: it is a Debian package of that name")
    manner = ["-v", voice, "-p", str(pitch), "-s", str(speed)]
    command = [program, *manner, "--stdout", word]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603
    header = bytearray(spoken)  # espeak-ng cannot know the length in advance and writes a huge one
    header[40:44] = (len(spoken) - 44).to_bytes(4, "little")
    return _decode(bytes(header))
