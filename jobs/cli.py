"""The command group. A command's module is imported when it is called, so --help is quick."""

from pkgutil import resolve_name
from typing import Any

import click

from maskmill.jobs.options import exits_cleanly
from maskmill.signals import leave_if_stopped, stop_on_signals
from maskmill.streams import escape_output

COMMANDS = {
    "prelabel": "Label every image of a collection with a DeepLab model.",
    "cutout": "Keep the subject of every image: blur, remove or paint the background.",
    "verify": "Prove that rows, files, COCO and inputs of a run agree.",
    "rank": "Order the images of a run for review, most uncertain first.",
    "select": "Choose the images of a run to annotate next.",
    "duplicates": "Group the images of a run that are alike.",
    "view": "Look at a run or a data set in the browser, review it, try a model.",
    "review": "Write what was accepted, rejected and flagged in the view as files.",
    "report": "Write a run as one HTML page that needs no server.",
    "audit": "Compare masks with their truth, and two audits with each other.",
    "finetune": "Train a model further on your own pictures and masks.",
    "convert": "Convert masks and annotations to another format.",
    "inspect": "Say what is in masks, and what is wrong with them.",
    "labels": "List the built-in label maps; show a label file as it is read.",
    "push": "Send images with their masks to annotators: Label Studio, CVAT.",
    "pull": "Fetch what annotators made of them, with who, when and what changed.",
    "serve": "Serve a model over HTTP: pictures in, masks out; Label Studio's ML backend.",
    "models": "List, describe, fetch, import and export models.",
}
"""Command -> its line of help. The command ``name`` is ``maskmill.jobs.name:name``."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, None where there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        command = resolve_name(f"maskmill.jobs.{cmd_name}:{cmd_name}")
        if not isinstance(command, click.Command):
            raise TypeError(f"maskmill.jobs.{cmd_name} is not a command")
        return command

    @exits_cleanly
    def invoke(self, ctx: click.Context) -> Any:
        """Import the command and run it; here too, because importing takes its time."""
        return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command table, from the one-line texts."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="maskmill")
def main() -> None:
    """Semantic-segmentation labels for large image collections.

    \b
    Example:
      maskmill prelabel photos/ labels/ --write masks,overlays
      maskmill verify labels/
      maskmill rank labels/
    """


def run_command() -> None:
    """What the console script and ``python -m maskmill`` run, in a process of our own."""
    escape_output()
    stop_on_signals()
    try:
        main()
    finally:
        leave_if_stopped()
