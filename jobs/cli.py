"""The command group. A command's module is imported when it is called, so --help is quick."""

import importlib

import click

COMMANDS = {
    "prelabel": (
        "jobs.prelabel:prelabel",
        "Label every image of a collection with a DeepLab model.",
    ),
    "cutout": (
        "jobs.cutout:cutout",
        "Keep the subject of every image: blur, remove or paint the background.",
    ),
    "verify": ("jobs.verify:verify", "Prove that rows, files, COCO and inputs of a run agree."),
    "rank": ("jobs.rank:rank", "Order the images of a run for review, most uncertain first."),
    "audit": (
        "jobs.audit:audit",
        "Compare masks with their truth, and two audits with each other.",
    ),
    "convert": ("jobs.convert:convert", "Convert masks and annotations to another format."),
    "inspect": ("jobs.inspect:inspect", "Say what is in masks, and what is wrong with them."),
    "models": ("jobs.models:models", "List, describe, fetch, import and export models."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, None where there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command table, from the one-line texts."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


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
