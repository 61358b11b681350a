"""The sizes of the bundled model's networks, for whoever builds them: PyTorch or ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASSES: Final = 1000  # of ImageNet
IMAGE_HIDDEN: Final = 512
AUDIO_HIDDEN_PER_DIMENSION: Final = 2

STEM_CHANNELS: Final = 32
V1_FEATURES: Final = 1024
V2_FEATURES: Final = 1280


@dataclass(frozen=True, slots=True)
class BertShape:
    """The sizes of a text encoder, named as in a Hugging Face BERT configuration."""

    vocab_size: int = 30522
    hidden_size: int = 384
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 1536
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> BertShape:
        """Read the sizes out of a parsed `config.json`; absent ones keep MiniLM's value."""
        return cls(**{name: config[name] for name in cls.__slots__ if name in config})  # type: ignore[arg-type]


class Stage(NamedTuple):
    """Blocks of one width, of which the first may halve the resolution."""

    channels: int
    blocks: int
    stride: int
    expansion: int = 1


# MobileNet V1 (Howard et al. 2017) and V2 (Sandler et al. 2018) of width 1.
V1_STAGES: Final = (
    Stage(64, 1, 1),
    Stage(128, 2, 2),
    Stage(256, 2, 2),
    Stage(512, 6, 2),
    Stage(1024, 2, 2),
)
V2_STAGES: Final = (
    Stage(16, 1, 1),
    Stage(24, 2, 2, 6),
    Stage(32, 3, 2, 6),
    Stage(64, 4, 2, 6),
    Stage(96, 3, 1, 6),
    Stage(160, 3, 2, 6),
    Stage(320, 1, 1, 6),
)
V2_LATE: Final = 5  # the first of the late stages
