"""Models to change between: two small random ones, and the bundled one turned round."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from app.encoders.registry import SHIPPED
from app.settings import Settings
from tests.encoders.factories import OPENCLIP_CONFIG, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

BUNDLED = Settings().models.default
SMALL = "small"  # images and texts, 24 dimensions
OTHER = "other"  # the same, 40 dimensions
TURNED = "turned"  # all three, 1,024 dimensions, and other vectors than the bundled one's


def write_models(directory: Path) -> Path:
    """Write the models below a models directory."""
    config = deepcopy(OPENCLIP_CONFIG)
    config["model_cfg"]["embed_dim"] = 40
    write_checkpoint(directory / SMALL)
    write_checkpoint(directory / OTHER, config, seed=1)
    write_turned(directory / TURNED)
    return directory


def write_turned(directory: Path) -> None:
    """Write a model of the bundled one's towers with other means per modality."""
    original = SHIPPED / BUNDLED
    directory.mkdir(parents=True)
    for path in original.iterdir():
        if path.name not in {"card.json", "gap.safetensors"}:
            (directory / path.name).symlink_to(path)
    card = json.loads((original / "card.json").read_text())
    card |= {"id": directory.name, "name": "Turned", "default": False}
    (directory / "card.json").write_text(json.dumps(card))
    generator = np.random.default_rng(5)
    means = {
        kind: (0.05 * generator.standard_normal(card["dimensions"])).astype(np.float32)
        for kind in card["types"]
    }
    save_file(means, directory / "gap.safetensors")
