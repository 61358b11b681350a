"""Writing the directory of a checkpoint that was given ears, so that the service can load it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from safetensors.numpy import save_file

from app.domain.modality import Modality
from app.encoders.calibration import GAP_FILE
from app.encoders.cards import CARD_FILE, Card, Loader, Logistic, OpenClip
from app.encoders.checkpoints import PROJECTOR_FILE
from app.encoders.model_files import AUDIO_FILE
from app.errors import InvalidInput, NameTaken, NotFound
from models.recipe.align import align
from models.recipe.figures import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.encoders.registry import Model, Registry
    from models.recipe.align import Aligned
    from models.recipe.corpus import Part

HEARING = (
    "Sounds are heard by the bundled model's small tower, and land where their captions would: "
    "pictures are found through what a sound is called."
)
BUNDLED_ID = "multimodal-embedding-v1"


def check_names(registry: Registry, root: Path, base: str, name: str) -> None:
    """Refuse a base that has no ears to be given, and a name that a model has or cannot have."""
    try:
        registry.entry(name)
    except NotFound:
        pass
    else:
        raise NameTaken("model", name)
    card = registry.entry(base).card
    if card.loader is not Loader.OPENCLIP or Modality.AUDIO in card.types:
        message = f"{base} takes {', '.join(card.types)}: only an OpenCLIP checkpoint can get ears"
        raise InvalidInput.at(("base",), message)
    try:
        msgspec.convert({**msgspec.to_builtins(card), "id": name}, Card)
    except msgspec.ValidationError as error:
        raise InvalidInput.at(("out",), f"--out {name}: {error}") from None
    if (root / name).exists():
        raise InvalidInput.at(("out",), f"{root / name} exists: name another with --out")


def make_ears(
    registry: Registry,
    root: Path,
    base: str,
    name: str,
    part: Part,
    *,
    steps: int,
    seed: int,
    say: Callable[[str], None],
) -> tuple[Path, Aligned]:
    """Align the bundled audio tower to a checkpoint and write the model `name` below `root`."""
    check_names(registry, root, base, name)
    bundled, checkpoint = registry.load(BUNDLED_ID), registry.load(base)
    aligned = align(checkpoint, bundled, part, steps=steps, seed=seed, say=say)
    audio = registry.entry(BUNDLED_ID).home / AUDIO_FILE
    return write_model(root, name, checkpoint, bundled.card, audio, aligned), aligned


def write_model(
    root: Path, name: str, base: Model, bundled: Card, audio: Path, aligned: Aligned
) -> Path:
    """Write the model's directory; its card comes last, so that no half of it is ever listed."""
    root.mkdir(parents=True, exist_ok=True)
    home = root / name
    with tempfile.TemporaryDirectory(dir=root, prefix=".draft-") as scratch:
        draft = Path(scratch) / name
        draft.mkdir(mode=0o755)
        shutil.copyfile(audio, draft / AUDIO_FILE)
        state = aligned.projector.state_dict()
        save_file({key: t.contiguous().numpy() for key, t in state.items()}, draft / PROJECTOR_FILE)
        means = {str(kind): mean for kind in Modality if (mean := base.gap.mean(kind)) is not None}
        save_file(means | {str(Modality.AUDIO): aligned.mean}, draft / GAP_FILE)
        for path in draft.iterdir():
            path.chmod(0o644)
        files = {path.name: {"sha256": sha256(path)} for path in sorted(draft.iterdir())}
        card = card_of(base.card, bundled, name, aligned, files)
        text = msgspec.json.format(msgspec.json.encode(card), indent=2)
        waiting = Path(scratch) / "card"  # by its own name it would be listed, and refused, here
        waiting.write_bytes(text + b"\n")
        draft.rename(home)
        waiting.rename(home / CARD_FILE)
    return home


def card_of(
    base: Card, bundled: Card, name: str, aligned: Aligned, files: Mapping[str, Any]
) -> Card:
    """The card of a checkpoint with ears: the checkpoint's, and what was fitted for sounds."""
    curves = {
        pair: Logistic(curve["slope"], curve["intercept"]) for pair, curve in aligned.curves.items()
    }
    if seen := base.calibration.get("image-text", base.calibration.get("text-image")):
        curves["audio-image"] = seen  # a sound's vector stands for its caption's
    errors = {
        f"expected calibration error, {pair}": curve["error"]
        for pair, curve in aligned.curves.items()
    }
    limits = [base.limitations] if isinstance(base.limitations, str) else base.limitations
    origin = {
        "name": f"the audio tower of {bundled.name}",
        "license": bundled.license,
        "what": "hears; a projector takes what it hears into the checkpoint's space",
    }
    return msgspec.structs.replace(
        base,
        id=name,
        name=f"{base.name} with ears",
        description=f"{base.id} for images and text; sounds through the audio tower of "
        f"{bundled.id} and a projector that was trained with text as the pivot.",
        types=(Modality.IMAGE, Modality.TEXT, Modality.AUDIO),
        default=False,
        audio=bundled.audio,
        openclip=msgspec.structs.replace(base.openclip or OpenClip(), base=base.id),
        calibration=base.calibration | curves,
        files=dict(files),
        sources=[*base.sources, origin],
        limitations=[
            *(each for each in limits if each),
            HEARING,
        ],
        evaluation=base.evaluation
        | {key: round(value, 3) for key, value in aligned.figures.items()}
        | errors,
    )
