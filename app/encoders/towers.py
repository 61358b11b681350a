"""What a loaded model can do: numbers in, vectors out, on the calling thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class Towers(Protocol):
    """The towers of one model on one device.

    Every `encode_*` returns float32 [n, d] of unit length, before any correction of the modality
    gap. Every method may be called from several threads at once.
    """

    dimensions: int

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Token ids of each text, special tokens included, cut to the context length."""

    def encode_texts(self, tokens: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Encode texts of any mix of lengths; the tower pads them."""

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode uint8 [n, size, size, 3] RGB pixels; normalisation happens here."""

    def audio_windows(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut a mono waveform at the tower's rate into its fixed windows: [windows, …features].

        At least one window, whatever the length; short input is padded with silence.
        """

    def encode_audio(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode windows (of any number of waveforms, concatenated), one vector each."""
