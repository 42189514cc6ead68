"""`maskmill models recognise` and `import`: what a file of the user's own is, and keeping it."""

from pathlib import Path

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output-stride", type=click.Choice(["8", "16"]), help="If you know it.")
@click.option(
    "--network-option",
    "network_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="What else you know of the network: rates=6,12,18.",
)
@json_option
@exits_cleanly
def recognise(
    file: Path, output_stride: str | None, network_options: tuple[str, ...], as_json: bool
) -> None:
    """Say what the weights in FILE are: network, output stride, classes, and who saves them so.

    Only names, shapes and plain values are read; nothing in the file is run.

    \b
    Example:
      maskmill models recognise best.pth
    """
    from maskmill.pipeline.models.network_options import parse_network_options
    from maskmill.pipeline.models.recognition import facts_of
    from maskmill.pipeline.models.recognition import recognise as recognise_file

    found = recognise_file(
        file,
        output_stride=int(output_stride) if output_stride else None,
        options=parse_network_options(network_options),
    )
    if as_json:
        say_json(facts_of(found))
        return
    click.echo(f"{file}: {found.describe()}")
    for note in found.notes:
        click.echo(f"note: {note}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What the model is to be called.")
@click.option(
    "--labels",
    metavar="FILE",
    help="Label map with one class per output channel: a file, or a built-in name. Left out, the "
    "command stops and says how many classes there are.",
)
@click.option(
    "--image-size",
    type=click.IntRange(33, 4097),
    help="Longest side of the network's input. [default: what the file says, else 513]",
)
@click.option(
    "--output-stride",
    type=click.Choice(["8", "16", "32"]),
    help="That of a checkpoint, which does not tell it. [default: 16]",
)
@click.option(
    "--atrous-rates",
    metavar="N,N,N",
    help="Those of a checkpoint's ASPP. [default: 6,12,18 at output stride 16, 12,24,36 at 8]",
)
@click.option(
    "--multi-grid", metavar="N,N,N", help="That of a checkpoint's last block. [default: 1,1,1]"
)
@click.option(
    "--licence", default="not stated", help="Licence of the weights, to be shown by `models info`."
)
@exits_cleanly
def import_file(
    file: Path,
    name: str,
    labels: str | None,
    image_size: int | None,
    output_stride: str | None,
    atrous_rates: str | None,
    multi_grid: str | None,
    licence: str,
) -> None:
    """Keep a DeepLab of TensorFlow's under a name of its own.

    FILE is TensorFlow DeepLab's frozen_inference_graph.pb, its training checkpoint
    (model.ckpt-N.index), or a TFLite or TFJS file of the MobileNetV2 family.

    \b
    Examples:
      maskmill models import frozen_inference_graph.pb --name streets --labels cityscapes
      maskmill models import model.ckpt-30000.index --name shelves --labels shelves.json
      maskmill models import my_deeplab.tflite --name shelves --labels shelves.json
    """
    from maskmill.pipeline.models.registry import MODELS
    from maskmill.pipeline.models.weights.imported import import_model
    from maskmill.pipeline.models.weights.training_facts import Training
    from maskmill.schemas.label_files import load_label_map

    spec = import_model(
        file,
        name=name,
        labels=load_label_map(labels) if labels else None,
        image_size=image_size,
        licence=licence,
        taken=tuple(MODELS),
        training=Training(
            int(output_stride) if output_stride else None,
            _numbers(atrous_rates, "--atrous-rates"),
            _numbers(multi_grid, "--multi-grid"),
        ),
        say=lambda note: click.echo(f"note: {note}", err=True),
    )
    click.echo(
        f"{spec.name}: {spec.architecture}, output stride {spec.output_stride}, "
        f"{len(spec.own_labels.classes) if spec.own_labels else 0} classes, "
        f"{spec.preprocessing.describe()}; use it with --model {spec.name}"
    )


def _numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Whole numbers of 1 or more, separated by commas."""
    from maskmill.schemas.errors import SettingsError

    if text is None:
        return None
    parts = text.replace(" ", "").split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise SettingsError(f"{option} {text}: give whole numbers, as in 6,12,18")
    return tuple(int(part) for part in parts)
