from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.modality import Modality
from app.errors import UnsupportedMedia
from app.media.sniff import KINDS, sniff
from tests.media.samples import encoded, picture, recording, tone, wav


@pytest.mark.parametrize(
    ("image_format", "content_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
        ("AVIF", "image/avif"),
    ],
)
def test_images_are_known_by_their_bytes(image_format: str, content_type: str) -> None:
    kind = sniff(encoded(picture(), image_format))
    assert (kind.content_type, kind.modality) == (content_type, Modality.IMAGE)


@pytest.mark.parametrize(
    ("container", "codec", "fmt", "content_type"),
    [
        ("wav", "pcm_s16le", "s16", "audio/wav"),
        ("w64", "pcm_s16le", "s16", "audio/x-w64"),
        ("mp3", "libmp3lame", "fltp", "audio/mpeg"),
        ("flac", "flac", "s16", "audio/flac"),
        ("ogg", "libopus", "flt", "audio/ogg"),
        ("ipod", "aac", "fltp", "audio/mp4"),
        ("adts", "aac", "fltp", "audio/aac"),
        ("webm", "libopus", "flt", "audio/webm"),
        ("matroska", "libopus", "flt", "audio/x-matroska"),
        ("aiff", "pcm_s16be", "s16", "audio/aiff"),
        ("caf", "pcm_s16be", "s16", "audio/x-caf"),
        ("au", "pcm_s16be", "s16", "audio/basic"),
        ("wv", "wavpack", "s16p", "audio/x-wavpack"),
    ],
)
def test_audio_is_known_by_its_bytes(
    container: str, codec: str, fmt: str, content_type: str
) -> None:
    kind = sniff(recording(container, codec, tone(0.2, 48_000), 48_000, fmt))
    assert (kind.content_type, kind.modality) == (content_type, Modality.AUDIO)


def test_mp3_without_a_tag_and_flac_behind_a_tag() -> None:
    mp3 = recording("mp3", "libmp3lame", tone(0.2, 48_000), 48_000)
    assert mp3.startswith(b"ID3")
    bare = mp3[10 + (mp3[8] << 7 | mp3[9]) :]
    assert sniff(bare).content_type == "audio/mpeg"
    flac = recording("flac", "flac", tone(0.2), 16_000, "s16")
    assert sniff(b"ID3\x04\x00\x00\x00\x00\x00\x05.....".ljust(15) + flac).decoder == "flac"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xfe<\x00h\x00t\x00m\x00l\x00",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html><script>alert(1)</script>",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"BM is how this sentence starts",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"\x1a\x45\xdf\xa3\x00\x42\x82\x84evil",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"\x00\x00\x01\x00",
    ],
)
def test_anything_else_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia):
        sniff(data)


@given(st.binary(max_size=64))
def test_any_bytes_have_a_known_kind_or_none(data: bytes) -> None:
    try:
        kind = sniff(data)
    except UnsupportedMedia:
        return
    assert kind in KINDS


def test_a_wav_file_of_another_writer() -> None:
    assert sniff(wav(tone(0.1), 16_000)).content_type == "audio/wav"
