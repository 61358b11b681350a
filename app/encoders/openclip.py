"""Any OpenCLIP checkpoint as towers for image and text."""

from __future__ import annotations

import logging
import pickle
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from safetensors import SafetensorError
from timm.utils.model import reparameterize_model
from torch import Tensor
from torch.nn import functional

from app.encoders.checkpoints import (
    CONFIG_FILE,
    RESIZES,
    WEIGHTS_FILES,
    find_checkpoint,
    image_size,
    interpolation,
)
from app.errors import Unavailable
from app.settings import Precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from app.encoders.cards import Card

log = logging.getLogger(__name__)

_PRECISIONS: Final = {
    Precision.AUTO: ("fp32", torch.float32),
    Precision.FLOAT32: ("fp32", torch.float32),
    Precision.BFLOAT16: ("bf16", torch.bfloat16),
    Precision.FLOAT16: ("fp16", torch.float16),
}

# What reading a damaged, foreign or absent checkpoint raises, in OpenCLIP and below it.
_LOAD_ERRORS: Final = (
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    SafetensorError,
    pickle.UnpicklingError,
)

# OpenCLIP's BPE remembers every word it has seen, and takes quadratic time in a word's length.
_MOST_WORDS: Final = 100_000
_LONGEST_WORD: Final = 128


class OpenClipTowers:
    """The towers of one OpenCLIP model on one device; see `Towers` for the contract."""

    def __init__(
        self, model: Any, tokenizer: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._model = model.eval().requires_grad_(requires_grad=False)
        self._text = getattr(model, "text", model)
        self._tokenizer = tokenizer
        self._tokenizing = Lock()  # either kind of tokenizer changes while it works
        self._device = device
        self._dtype = dtype
        config = model.visual.preprocess_cfg
        self.size = image_size(config["size"])
        self.resize = RESIZES[config["resize_mode"]]
        self.interpolation = interpolation(config["interpolation"])
        mean, std = (torch.tensor(config[name], device=device) for name in ("mean", "std"))
        self._scale = (1 / (255 * std)).view(1, 3, 1, 1)
        self._shift = (-mean / std).view(1, 3, 1, 1)
        self._causal = _is_causal(self._text)
        self.context_length = int(tokenizer.context_length)
        self.dimensions = self._dimensions()

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        with self._tokenizing:
            return self._tokenize(texts)

    def _tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        if isinstance(self._tokenizer, SimpleTokenizer):
            if len(self._tokenizer.cache) > _MOST_WORDS:
                self._tokenizer.cache.clear()
            rows = self._tokenizer([_break_words(text) for text in texts]).numpy()
            return [row[: row.argmax() + 1] for row in rows]  # the end of text has the highest id
        rows = self._tokenizer(list(texts)).numpy()
        return [row[: _last(row != self._pad) + 1] for row in rows]

    @torch.inference_mode()
    def encode_texts(self, tokens: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        lengths = torch.tensor([len(ids) for ids in tokens])
        # Behind a causal mask the end of the text sees no padding, so that none is computed.
        width = int(lengths.max()) if self._causal else self.context_length
        batch = torch.full((len(tokens), width), self._pad)
        for row, ids in zip(batch, tokens, strict=True):
            row[: len(ids)] = torch.from_numpy(ids)
        batch = batch.to(self._device)
        if self._causal:
            return _unit(_encode_causal(self._text, batch, lengths.to(self._device)))
        return _unit(self._model.encode_text(batch))

    @torch.inference_mode()
    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).float()
        batch = batch.mul_(self._scale).add_(self._shift)
        return _unit(self._model.encode_image(batch.to(self._dtype)))

    def audio_windows(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError("an OpenCLIP checkpoint has no audio tower")

    def encode_audio(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError("an OpenCLIP checkpoint has no audio tower")

    @property
    def _pad(self) -> int:
        if isinstance(self._tokenizer, HFTokenizer):
            return int(self._tokenizer.tokenizer.pad_token_id)
        return 0

    def _dimensions(self) -> int:
        """Measure the length of a vector: configurations name it in too many ways."""
        return int(self.encode_texts(self.tokenize([""])).shape[1])


def load_openclip(
    card: Card, directories: Sequence[Path], *, device: str, precision: Precision
) -> OpenClipTowers:
    """Load the checkpoint from the first directory that holds it, or else from the hub.

    Unavailable says what to fetch and where to put it, or what does not fit the card.
    """
    directory = find_checkpoint(directories)
    source, pretrained = _source(card, directory)
    if source is None:
        raise _unavailable(card, directories, "its files are not there")
    name, dtype = _PRECISIONS[precision]
    try:
        model = open_clip.create_model(
            source,
            pretrained=pretrained,
            precision=name,
            device=device,
            pretrained_text=False,
            require_pretrained=True,
        )
        tokenizer = open_clip.get_tokenizer(source)
        _prepare(model.visual)
        towers = OpenClipTowers(model, tokenizer, torch.device(device), dtype)
    except _LOAD_ERRORS as error:
        raise _unavailable(card, directories, str(error)) from error
    _check(card, towers)
    return towers


def _source(card: Card, directory: Path | None) -> tuple[str | None, str | None]:
    """Name the checkpoint as OpenCLIP takes it: the model and the tag of its weights."""
    if directory is not None:
        return f"local-dir:{directory}", None
    if card.openclip is None:
        return None, None
    if card.openclip.hub is not None:
        return f"hf-hub:{card.openclip.hub}", None
    return card.openclip.model, card.openclip.pretrained


def _unavailable(card: Card, directories: Sequence[Path], reason: str) -> Unavailable:
    hub = card.openclip.hub if card.openclip else None
    origin = f"from https://huggingface.co/{hub} " if hub else ""
    return Unavailable(
        "model",
        f"the model {card.id} cannot be loaded: {reason.strip().rstrip('.')}. Put {CONFIG_FILE} "
        f"and {WEIGHTS_FILES[0]} {origin}into {directories[0]}.",
    )


def _check(card: Card, towers: OpenClipTowers) -> None:
    """Refuse a checkpoint that is not the one its card describes."""
    facts: list[tuple[str, int, int]] = [("dimensions", card.dimensions, towers.dimensions)]
    if card.text is not None:
        facts.append(("text.context_length", card.text.context_length, towers.context_length))
    if card.image is not None:
        facts.append(("image.size", card.image.size, towers.size))
        said = card.image.resize, card.image.interpolation
        if said != (towers.resize, towers.interpolation):  # costs quality, breaks nothing
            log.warning(
                "the model %s resizes by %s, %s, but its checkpoint was trained with %s, %s",
                *(card.id, *said, towers.resize, towers.interpolation),
            )
    wrong = [f"{name} {said}, the checkpoint {is_}" for name, said, is_ in facts if said != is_]
    if wrong:
        raise Unavailable(
            "model", f"the model {card.id} is not what its card says: {'; '.join(wrong)}"
        )


def _prepare(visual: Any) -> None:
    """Fold the branches of a re-parameterisable network, and lay convolutions out for speed."""
    if hasattr(visual, "trunk"):
        visual.trunk = reparameterize_model(visual.trunk.eval())
    visual.to(memory_format=torch.channels_last)


def _is_causal(text: Any) -> bool:
    """Tell whether the vector is that of the end of the text behind a causal mask."""
    pool = getattr(text, "text_pool_type", getattr(text, "pool_type", None))
    return (
        getattr(text, "attn_mask", None) is not None
        and pool in {"argmax", "eos"}
        and getattr(text, "cls_emb", None) is None
    )


def _encode_causal(text: Any, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Encode int64 [n, width] tokens, as wide as the longest text; what OpenCLIP computes."""
    width = tokens.shape[1]
    dtype = text.transformer.get_cast_dtype()
    x = text.token_embedding(tokens).to(dtype) + text.positional_embedding[:width].to(dtype)
    x = text.transformer(x, attn_mask=text.attn_mask[:width, :width])
    x = text.ln_final(x[torch.arange(len(x), device=x.device), lengths - 1])
    projection = text.text_projection
    if isinstance(projection, torch.nn.Module):
        x = projection(x)
    elif projection is not None:
        x = x @ projection
    return cast("Tensor", x)


def _break_words(text: str) -> str:
    """Break words that no language has, before they cost seconds."""
    if len(text) <= _LONGEST_WORD:
        return text
    return " ".join(
        word[start : start + _LONGEST_WORD]
        for word in text.split()
        for start in range(0, len(word), _LONGEST_WORD)
    )


def _last(mask: NDArray[np.bool_]) -> int:
    """Return the index of the last true value; -1 if none is."""
    return len(mask) - 1 - int(mask[::-1].argmax()) if mask.any() else -1


def _unit(vectors: Tensor) -> NDArray[np.float32]:
    """Scale rows to unit length in float32, on the CPU."""
    return functional.normalize(vectors.float(), dim=1).cpu().numpy()
