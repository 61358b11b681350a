"""From the body that creates an index to the space that it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from app.api.vectorize.codes import Code, VectorizeError
from app.domain.collections import Metric, SpaceSpec, VectorPrecision
from app.errors import NotFound

if TYPE_CHECKING:
    from app.api.vectorize.schemas import CreateConfig
    from app.engine.engine import Engine

MAX_DESCRIPTION_CHARS = 1024

# Dimensions of the models behind Cloudflare's presets; their metric is the cosine.
PRESETS = {
    "@cf/baai/bge-small-en-v1.5": 384,
    "@cf/baai/bge-base-en-v1.5": 768,
    "@cf/baai/bge-large-en-v1.5": 1024,
    "openai/text-embedding-ada-002": 1536,
    "cohere/embed-multilingual-v2.0": 768,
}
METRICS = {
    "cosine": Metric.COSINE,
    "euclidean": Metric.EUCLIDEAN,
    "dot-product": Metric.DOT,
}


def check_description(text: str | None) -> None:
    if text is not None and ("\0" in text or len(text) > MAX_DESCRIPTION_CHARS):
        raise VectorizeError(
            Code.INVALID_BODY,
            f"a description has at most {MAX_DESCRIPTION_CHARS} characters and no NUL",
        )


def read_spec(config: CreateConfig | None, engine: Engine, max_dimensions: int) -> SpaceSpec:
    """Return the space for given dimensions and metric, or for a preset. Raises VectorizeError."""
    if config is None or config == type(config)():
        raise _invalid_config("Config must be provided")
    if config.preset is not UNSET:
        return _of_preset(config.preset, engine)
    if config.dimensions is UNSET or config.metric is UNSET:
        raise _invalid_config("Config must have dimensions and metric, or a preset")
    if not 1 <= config.dimensions <= max_dimensions:
        raise _invalid_config(f"Dimensions must be in range: [1, {max_dimensions}]")
    if config.metric not in METRICS:
        raise _invalid_config(f"Metric must be one of: {', '.join(METRICS)}")
    return SpaceSpec(None, config.dimensions, METRICS[config.metric], VectorPrecision.FLOAT32)


def _of_preset(preset: str, engine: Engine) -> SpaceSpec:
    if preset in PRESETS:
        return SpaceSpec(None, PRESETS[preset], Metric.COSINE, VectorPrecision.FLOAT32)
    try:
        card = engine.encoders.card(preset)
    except NotFound:
        known = [*PRESETS, *(card.id for card in engine.models())]
        raise _invalid_config(f"Preset must be one of: {', '.join(known)}") from None
    return SpaceSpec(card.id, card.dimensions, Metric.COSINE, VectorPrecision.FLOAT32)


def _invalid_config(reason: str) -> VectorizeError:
    return VectorizeError(Code.INVALID_CONFIG, reason)
