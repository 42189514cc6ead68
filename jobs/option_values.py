"""Options of commands given from Python: the same checks and messages, and no other defaults."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import click

from maskmill.schemas.errors import SettingsError

NOT_SETTINGS = ("as_json", "dry_run", "allow_failures", "list_formats", "report", "source", "out")
"""Parameters of commands that say how to print and to exit, or that functions take as arguments."""


def names_of(command: click.Command) -> dict[str, click.Option]:
    """The settings a command has, by the name of the keyword argument."""
    return {
        option.name: option
        for option in command.params
        if isinstance(option, click.Option) and option.name and option.name not in NOT_SETTINGS
    }


def checked(command: click.Command, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the command would pass them on; those that are None are left out.

    Raises:
        TypeError: a setting that the command does not have.
        SettingsError: a value that the command would not take, in its words.
    """
    options = names_of(command)
    unknown = [name for name in settings if name not in options]
    if unknown:
        raise TypeError(f"no setting {', '.join(unknown)}; there are: {', '.join(sorted(options))}")
    context = click.Context(command)
    try:
        return {
            name: options[name].process_value(context, _as_typed(value, options[name]))
            for name, value in settings.items()
            if value is not None
        }
    except click.UsageError as error:
        raise SettingsError(error.format_message()) from error


def _as_typed(value: Any, option: click.Option) -> Any:
    """A value as it would be typed: so 5.5 is no whole number, and lists are lists."""
    if isinstance(value, bool):
        return value
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = tuple(str(part) for part in value)
        return parts if option.multiple else ",".join(parts)
    return str(value)
