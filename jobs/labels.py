"""`maskmill labels`: the built-in label maps, and any label file as it is read."""

from typing import Any

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.label_files import open_label_map
from maskmill.schemas.labels import LabelMap, builtin, builtin_names
from maskmill.schemas.text import printable

SHOWN_NAMES = 6


@click.command()
@click.argument("file", required=False)
@json_option
@exits_cleanly
def labels(file: str | None, as_json: bool) -> None:
    """List the built-in label maps, or show what --labels FILE would read.

    FILE is a label file of any kind (docs/labels.md) or the name of a built-in label map. What is
    shown is what every command takes from it: mask values, names, colours, COCO ids, ignore.

    \b
    Examples:
      maskmill labels
      maskmill labels voc
      maskmill labels export/labelmap.txt --json

    \b
    Exit codes: 0 shown, 2 no label file that can be read.
    """
    if file is None:
        _say_builtin(as_json)
        return
    found, form = open_label_map(file)
    if as_json:
        say_json({"file": file, **_described(found, form)})
    else:
        click.echo("\n".join(_lines(file, found, form)))


def _say_builtin(as_json: bool) -> None:
    maps = [builtin(name) for name in builtin_names()]
    if as_json:
        say_json([_described(one, "built in") for one in maps])
        return
    for one in maps:
        shown = ", ".join(one.names[:SHOWN_NAMES])
        more = ", …" if len(one.names) > SHOWN_NAMES else ""
        count = f"{len(one.classes)} classes"
        click.echo(f"{one.name:<20} {count:>11}, ignore {one.ignore_index}: {shown}{more}")


def _described(labels: LabelMap, form: str) -> dict[str, Any]:
    """Plain values; ``classes`` are those of a label file of ours."""
    return {**labels.to_dict(), "format": form, "ignore": labels.ignore_index}


def _lines(file: str, labels: LabelMap, form: str) -> list[str]:
    width = max(len(printable(name)) for name in labels.names)
    lines = [
        f"{printable(file)}: {form}, {len(labels.classes)} classes, "
        f"ignore {labels.ignore_index}, background "
        + ("not named" if labels.background_index is None else str(labels.background_index)),
        f"{'value':>5}  {'class':<{width}}  {'colour':<11}  COCO id",
    ]
    for entry in labels.classes:
        color = ",".join(map(str, entry.color))
        category = "background" if entry.is_background else str(entry.category_id)
        name = printable(entry.name)
        lines.append(f"{entry.index:>5}  {name:<{width}}  {color:<11}  {category}")
    return lines
