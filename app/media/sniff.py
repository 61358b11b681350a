"""What bytes are, by their own first bytes: no header, no file name is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.domain.modality import Modality
from app.errors import UnsupportedMedia


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of media that is taken.

    `decoder` is the name of the one Pillow plugin, or of the one FFmpeg demuxer, that may open it.
    """

    content_type: str
    modality: Modality
    extension: str
    decoder: str


def _image(content_type: str, extension: str, decoder: str) -> Kind:
    return Kind(content_type, Modality.IMAGE, extension, decoder)


def _audio(content_type: str, extension: str, decoder: str) -> Kind:
    return Kind(content_type, Modality.AUDIO, extension, decoder)


JPEG: Final = _image("image/jpeg", "jpg", "JPEG")
PNG: Final = _image("image/png", "png", "PNG")
WEBP: Final = _image("image/webp", "webp", "WEBP")
GIF: Final = _image("image/gif", "gif", "GIF")
BMP: Final = _image("image/bmp", "bmp", "BMP")
TIFF: Final = _image("image/tiff", "tif", "TIFF")
AVIF: Final = _image("image/avif", "avif", "AVIF")

WAV: Final = _audio("audio/wav", "wav", "wav")
WAVE64: Final = _audio("audio/x-w64", "w64", "w64")
MP3: Final = _audio("audio/mpeg", "mp3", "mp3")
FLAC: Final = _audio("audio/flac", "flac", "flac")
OGG: Final = _audio("audio/ogg", "ogg", "ogg")
MP4: Final = _audio("audio/mp4", "m4a", "mov")
AAC: Final = _audio("audio/aac", "aac", "aac")
WEBM: Final = _audio("audio/webm", "webm", "matroska")
MATROSKA: Final = _audio("audio/x-matroska", "mka", "matroska")
AIFF: Final = _audio("audio/aiff", "aiff", "aiff")
CAF: Final = _audio("audio/x-caf", "caf", "caf")
AU: Final = _audio("audio/basic", "au", "au")
AMR: Final = _audio("audio/amr", "amr", "amr")
AC3: Final = _audio("audio/ac3", "ac3", "ac3")
ASF: Final = _audio("audio/x-ms-wma", "wma", "asf")
WAVPACK: Final = _audio("audio/x-wavpack", "wv", "wv")
APE: Final = _audio("audio/x-ape", "ape", "ape")

KINDS: Final = (
    *(JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF),
    *(WAV, WAVE64, MP3, FLAC, OGG, MP4, AAC, WEBM, MATROSKA, AIFF, CAF, AU, AMR, AC3, ASF),
    *(WAVPACK, APE),
)

_PREFIXES: Final = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),
    (b"MM\x00+", TIFF),
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"caff", CAF),
    (b".snd", AU),
    (b"#!AMR", AMR),
    (b"\x0b\x77", AC3),
    (b"wvpk", WAVPACK),
    (b"MAC ", APE),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", ASF),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00", WAVE64),
)
_FORMS: Final = {
    (b"RIFF", b"WEBP"): WEBP,
    (b"RIFF", b"WAVE"): WAV,
    (b"RIFX", b"WAVE"): WAV,
    (b"RF64", b"WAVE"): WAV,
    (b"BW64", b"WAVE"): WAV,
    (b"FORM", b"AIFF"): AIFF,
    (b"FORM", b"AIFC"): AIFF,
}
# Brands of ISO base media files whose primary item is a still picture that we do not decode.
_STILL_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"jpeg", b"crx "}
)
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_DOC_TYPE: Final = b"\x42\x82"


def sniff(data: bytes) -> Kind:
    """Return the kind of `data`; UnsupportedMedia when it is none that is taken."""
    kind = _kind(data)
    if kind is None:
        raise UnsupportedMedia("the content is no image or audio format that is taken")
    return kind


def _kind(data: bytes) -> Kind | None:
    for prefix, kind in _PREFIXES:
        if data.startswith(prefix):
            return kind
    if form := _FORMS.get((data[:4], data[8:12])):
        return form
    for start, mark, read in _STRUCTURES:
        if data.startswith(mark, start):
            return read(data)
    return _mpeg_frame(data)


def _iso_base_media(data: bytes) -> Kind | None:
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return AVIF
    return None if data[8:12] in _STILL_BRANDS else MP4


def _ebml(data: bytes) -> Kind | None:
    """Tell WebM from Matroska by the EBML header's DocType (RFC 8794, 11.2.4)."""
    at = data.find(_DOC_TYPE, 4, 128)
    doc_type = data[at + 3 : at + 3 + (data[at + 2] & 0x7F)] if 0 <= at < len(data) - 2 else b""
    return {b"webm": WEBM, b"matroska": MATROSKA}.get(doc_type)


def _behind_id3(data: bytes) -> Kind | None:
    """See what follows an ID3v2 tag, whose size is four times 7 bits (ID3v2.4, 3.1)."""
    if len(data) < 10 or max(data[6:10]) > 0x7F:
        return None
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte
    rest = data[10 + size : 10 + size + 16]
    return FLAC if rest.startswith(b"fLaC") else (_mpeg_frame(rest) or MP3)


def _mpeg_frame(data: bytes) -> Kind | None:
    """Recognise an ADTS or an MPEG audio (layer II or III) frame header by its fixed bits."""
    if len(data) < 4 or data[0] != 0xFF:
        return None
    if data[1] & 0xF6 == 0xF0 and (data[2] >> 2) & 0xF < 13:
        return AAC
    version, layer = (data[1] >> 3) & 3, (data[1] >> 1) & 3
    bitrate, rate = data[2] >> 4, (data[2] >> 2) & 3
    frame = data[1] & 0xE0 == 0xE0 and version != 1 and layer in {1, 2}
    return MP3 if frame and bitrate not in {0, 15} and rate != 3 else None


def _bitmap(data: bytes) -> Kind | None:
    """Recognise BMP, whose two letters are too common, by the size of its second header."""
    return BMP if int.from_bytes(data[14:18], "little") in _BMP_HEADERS else None


_STRUCTURES: Final = (
    (0, b"BM", _bitmap),
    (0, b"ID3", _behind_id3),
    (0, b"\x1a\x45\xdf\xa3", _ebml),
    (4, b"ftyp", _iso_base_media),
)
