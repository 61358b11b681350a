"""`omnivec models build`, `evaluate` and `align-audio`: what models/recipe does, from the shell.

The recipe is part of the repository and not of the installed package; it is imported when one of
its commands runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from app.cli.settings import read_settings, told_plainly
from app.encoders.registry import Registry
from app.settings import ROOT

RECIPE = ROOT / "models" / "recipe"
BUILT = "multimodal-embedding-v1"
SUITES = (
    *("clothing", "grocery", "emoji", "scenes", "digits", "words", "sounds", "recall", "mixed"),
    *("agreement", "texts", "calibration", "speed", "size"),
)
KIT = "Directory of the model kit; models/README.md says what it holds."


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="All other options go to the recipe: `… build ID --data DIR -- --help` lists them.",
)
@click.argument("model_id", metavar="ID", type=click.Choice([BUILT]), expose_value=False)
@click.option("--data", required=True, type=click.Path(path_type=Path), help=KIT)
@click.argument("options", metavar="[RECIPE OPTIONS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def build(context: click.Context, data: Path, options: tuple[str, ...]) -> None:
    """Train a model anew from the model kit, measure it and write its card.

    Takes over two hours on two cores, and goes on where it was stopped.
    """
    with told_plainly():
        _recipe("kit").require(data)
    # A process of its own: the recipe has its own command line, and leaves its memory behind.
    command = [sys.executable, "-m", "models.recipe", "--kit", str(data.resolve()), *options]
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    context.exit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603


@click.command()
@click.argument("model_id", metavar="ID")
@click.option("--against", metavar="ID", help="Another model, measured alike and shown beside it.")
@click.option(
    "--suite",
    "suites",
    multiple=True,
    type=click.Choice(SUITES),
    help="Measure only this; may be repeated. Without it: all that the model and machine can do.",
)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help=KIT)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Examples of each source at most, for a quick look; figures of other limits differ.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Also write the figures to this file; `-` prints them in place of the table.",
)
def evaluate(
    model_id: str,
    against: str | None,
    suites: tuple[str, ...],
    data: Path | None,
    limit: int | None,
    json_file: Path | None,
) -> None:
    """Measure a model, as the service would rank, on what it was not trained on."""
    measuring, report = _recipe("evaluate"), _recipe("evaluation.report")
    examples = _recipe("evaluation.examples").Examples(data, limit=limit)
    load = _recipe("evaluation.subject").load_subject
    ids = [model_id] if against in {None, model_id} else [model_id, against]
    with told_plainly():
        registry = Registry(read_settings().models)
        for each in ids:
            registry.entry(each)
        measured = [measuring.measure(load(registry, each), examples, suites, _say) for each in ids]
    if str(json_file) == "-":
        click.echo(report.as_json(measured), nl=False)
        return
    if json_file is not None:
        _write(json_file, report.as_json(measured))
    click.echo(report.table(measured))


@click.command("align-audio")
@click.argument("base", metavar="BASE")
@click.option(
    "--pairs",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Recordings with captions: a directory, or a tar, that holds them and a captions.jsonl.",
)
@click.option("--out", "name", required=True, metavar="ID", help="Id of the model to make.")
@click.option("--steps", default=400, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=1, show_default=True, help="Of the draws and the first weights.")
def align_audio(base: str, pairs: Path, name: str, steps: int, seed: int) -> None:
    """Give an image and text OpenCLIP checkpoint ears.

    The bundled model's audio tower hears; a projector, trained on recordings with captions with
    text as the pivot, takes that into BASE's space. The result is a model of images, text and
    audio in a directory of its own below OMNIVEC_MODELS_DIR. Each line of captions.jsonl is
    {"file": "rain.wav", "captions": ["rain on a roof"]}.
    """
    ears, recordings = _recipe("ears"), _recipe("recordings")
    settings = read_settings().models
    with told_plainly():
        registry = Registry(settings)
        ears.check_names(registry, settings.directory, base, name)
        home, aligned = ears.make_ears(
            registry,
            settings.directory,
            base,
            name,
            recordings.read_recordings(pairs),
            steps=steps,
            seed=seed,
            say=_say,
        )
    for figure, value in aligned.figures.items():
        click.echo(f"{figure}: {value:.3f}")
    click.echo(f"Wrote {home}. Serve it with OMNIVEC_DEFAULT_MODEL={name}, or name it by its id.")


def _recipe(module: str) -> Any:
    """Import a module of the recipe; an installation without it is told plainly."""
    if not (RECIPE / "__init__.py").is_file():
        raise click.ClickException(
            f"{RECIPE} is not there: the installed package holds the service alone. Get the "
            "project's repository and run this there, after `make serve` or `pip install -e .`."
        )
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return import_module(f"models.recipe.{module}")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once, so that it is never half there."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as draft:
            draft.write(content)
        Path(draft.name).chmod(0o644)
        Path(draft.name).replace(path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
