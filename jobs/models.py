"""`maskmill models`: list, info, pull, recognise, import, export, publish."""

from pathlib import Path
from typing import Any

import click

from maskmill.jobs.model_files import import_file, recognise
from maskmill.jobs.model_publication import publish
from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.text import printable


@click.group()
def models() -> None:
    """The models: what there is, what each one is, and where its weights come from.

    \b
    Examples:
      maskmill models list
      maskmill models info deeplabv3_mobilenetv2_x05_voc
      maskmill models pull deeplabv3_mobilenetv2_x05_voc
      maskmill models recognise best.pth
      maskmill models import my_deeplab.tflite --name shelves --labels shelves.json
      maskmill models export deeplabv3_mobilenetv2_x05_voc deeplab.onnx
      maskmill models publish better/model shelves-deeplab/
    """


@models.command("list")
@json_option
@exits_cleanly
def list_models(as_json: bool) -> None:
    """Every model by name: output stride, classes, and whether its weights are here."""
    from maskmill.pipeline.models.facts import weights_state
    from maskmill.pipeline.models.registry import DEFAULT_MODEL, all_models
    from maskmill.pipeline.models.spec import labels_of

    rows = [
        {
            "name": spec.name,
            "output_stride": spec.output_stride,
            "classes": len(labels_of(spec).classes),
            "trained": spec.trained,
            "weights": weights_state(spec),
            "default": spec.name == DEFAULT_MODEL,
            "description": spec.description,
        }
        for spec in all_models().values()
    ]
    if as_json:
        say_json(rows)
        return
    for row in rows:
        mark = "*" if row["default"] else " "
        click.echo(
            f"{mark} {row['name']:<36} OS {row['output_stride']:<3} {row['classes']:>4} classes  "
            f"{row['weights']:<14} {printable(row['description'])}"
        )
    click.echo("* the default; `maskmill models info NAME` tells more")


@models.command()
@click.argument("name")
@json_option
@exits_cleanly
def info(name: str, as_json: bool) -> None:
    """What one model is: architecture, size, input rule, labels, licence, origin and hash.

    \b
    Example:
      maskmill models info deeplabv3_resnet101
    """
    from maskmill.pipeline.models.facts import describe
    from maskmill.pipeline.models.registry import find_model

    facts = describe(find_model(name))
    if as_json:
        say_json(facts)
        return
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' '):<14} {printable(_shown(value))}")


@models.command()
@click.argument("names", nargs=-1, required=True)
@exits_cleanly
def pull(names: tuple[str, ...]) -> None:
    """Fetch the weights of NAMES into the cache, check their hashes, and convert them once.

    The cache is MASKMILL_CACHE, or the folder maskmill in the user's cache folder.

    \b
    Example:
      maskmill models pull deeplabv3_mobilenetv2_x05_voc deeplabv3_mobilenetv2_voc
    """
    from maskmill.pipeline.models.registry import find_model
    from maskmill.pipeline.models.weights.origins import resolve_weights

    for name in names:
        path = resolve_weights(find_model(name), say=lambda text: click.echo(text, err=True))
        click.echo(f"{name}: {path} ({path.stat().st_size / 1e6:.1f} MB)")


models.add_command(recognise)
models.add_command(import_file)
models.add_command(publish)


@models.command("export")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--weights", metavar="FILE", help="Your own weights for the model.")
@click.option(
    "--labels", metavar="FILE", help="Label map of your weights: a file, or a built-in name."
)
@click.option("--untrained", is_flag=True, help="With random weights, to try the receiving end.")
@click.option(
    "--image-size",
    type=click.IntRange(33, 4097),
    help="Input size that the file tells its users of; it takes any. [default: the model's own]",
)
@json_option
@exits_cleanly
def export(
    name: str,
    file: Path,
    weights: str | None,
    labels: str | None,
    untrained: bool,
    image_size: int | None,
    as_json: bool,
) -> None:
    """Write a model with its weights to FILE: ONNX (.onnx) or a torch.export program (.pt2).

    Both take normalised images of any number and size and give logits on the network's own grid.
    How to normalise, how the grid lies under the image, and the class names are in the file too.

    \b
    Examples:
      maskmill models export deeplabv3_mobilenetv2_x05_voc deeplab.onnx
      maskmill models export deeplabv3_resnet50 shelves.pt2 --weights mine.pth --labels mine.json
    """
    from maskmill.pipeline.models.choice import choose_model
    from maskmill.pipeline.models.export import export_choice, kind_of

    kind = kind_of(file)
    choice = choose_model(name, weights, labels, untrained=untrained)
    facts, notes = export_choice(choice, file, image_size=image_size)
    for note in notes:
        click.echo(f"note: {printable(note)}", err=True)
    if as_json:
        say_json({"file": str(file), "kind": kind, "bytes": file.stat().st_size, **facts})
        return
    click.echo(
        f"{printable(file)}: {facts['architecture']}, {len(facts['classes'])} classes, {kind}"
    )
    click.echo(f"  images (N, 3, H, W): {facts['input']}; mean {facts['mean']}, std {facts['std']}")
    click.echo(f"  logits (N, C, h, w): every {facts['grid_stride']} pixels")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "–")
