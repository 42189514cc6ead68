"""`maskmill models publish`: a model laid out for people who do not have maskmill."""

from pathlib import Path

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.text import printable


@click.command()
@click.argument("name", metavar="NAME|DIR")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--weights", metavar="FILE", help="Your own weights for the model.")
@click.option(
    "--labels", metavar="FILE", help="Label map of your weights: a file, or a built-in name."
)
@json_option
@exits_cleanly
def publish(
    name: str, folder: Path, weights: str | None, labels: str | None, as_json: bool
) -> None:
    """Lay a model out in a new FOLDER so that others can load it.

    A torch.export program for PyTorch alone, the state dict as safetensors under our names with
    model.json (which --model takes), a page with its scores, and, for the networks that
    transformers has too, a Hugging Face model. Each file is loaded again and must answer as the
    model does before anything is there.

    \b
    Examples:
      maskmill models publish better/model shelves-deeplab/
      maskmill models publish deeplabv3_mobilenetv2_x05_voc deeplab/
    """
    from maskmill.pipeline.models.choice import choose_model
    from maskmill.pipeline.models.publication import publish as lay_out

    published = lay_out(choose_model(name, weights, labels), folder)
    for note in published.notes:
        click.echo(f"note: {printable(note)}", err=True)
    if as_json:
        card = published.card
        told = {key: card[key] for key in ("name", "architecture", "sha256", "licence")}
        files, left_out = list(published.files), published.left_out
        say_json({"folder": str(folder), "files": files, "transformers": not left_out, **told})
        return
    click.echo(f"{printable(str(folder))}: {', '.join(published.files)}")
    if published.left_out:
        click.echo(f"  no files for transformers: {published.left_out}")
