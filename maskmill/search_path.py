"""Where our processes look for modules: where something was installed, never in the user's folders.

A working folder may hold a ``json.py`` or a ``schemas/`` of the user's own, and Python puts the
working folder (``python -m``), the script's folder and PYTHONPATH before everything else. The
commands call :func:`clean_search_path` before they import anything; until then only what the
interpreter itself has loaded may be imported, here and in the package's ``__init__``.
"""
# ruff: noqa: PTH100, PTH109, PTH120, PTH208 - pathlib would be imported too early

import os
import sys

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, which would have to be imported to be asked
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

PACKAGE = "maskmill"


def clean_search_path() -> None:
    """Make sys.path, and the environment of processes to come, free of the user's own folders.

    The working folder and the script's leave. Those of PYTHONPATH move behind all others, for
    ``pip install --target`` makes such. For the commands only: a caller's path is the caller's.
    """
    first = _folder_put_first()
    named, behind = _folders_of_pythonpath()
    kept = sys.path[1:] if first else sys.path[:]
    moved = [folder for folder in behind if folder in kept]
    sys.path[:] = [*(folder for folder in kept if folder not in named), *moved]
    _import_again([*first, *named])
    _set(_variables())


def clean_environment(folder: str) -> "AbstractContextManager[None]":
    """A block in which processes may be started that shall see none of the user's own folders.

    Within it PYTHONPATH names only what was installed there, and the working folder is ``folder``
    (an empty one, which must outlive those processes). Afterwards both are as they were.
    """
    from contextlib import contextmanager

    @contextmanager
    def block() -> "Iterator[None]":
        names = _variables()
        before = {name: os.environ.get(name) for name in names}
        here = _working_folder()
        try:
            _set(names)
            os.chdir(folder)
            yield
        finally:
            _set(before)
            if here:
                os.chdir(here)

    return block()


def _set(variables: "Mapping[str, str | None]") -> None:
    """Environment variables; those that are empty or None are unset."""
    for name, value in variables.items():
        if value:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)


def _variables() -> dict[str, str]:
    """What child processes are to have in their environment.

    They look into PYTHONPATH before the standard library, so that only folders of installed
    packages stay in it. Python 3.10 does not know PYTHONSAFEPATH.
    """
    installed = [folder for folder in _folders_of_pythonpath()[1] if _is_installed(folder)]
    return {"PYTHONPATH": os.pathsep.join(installed), "PYTHONSAFEPATH": "1"}


def _folder_put_first() -> list[str]:
    """The entry that Python puts before all others for ``-m`` and for scripts, if it did."""
    if sys.flags.isolated or getattr(sys.flags, "safe_path", False) or not sys.path:
        return []
    script = sys.argv[0] if sys.argv else ""
    own = {_working_folder(), os.path.dirname(script), os.path.dirname(os.path.realpath(script))}
    return sys.path[:1] if _real(sys.path[0]) in {_real(folder) for folder in own} else []


def _folders_of_pythonpath() -> tuple[list[str], list[str]]:
    """All entries as they stand in sys.path, and those that stay: an empty one means here."""
    if sys.flags.ignore_environment or not os.environ.get("PYTHONPATH"):
        return [], []
    library = os.path.dirname(os.__file__)
    entries = os.environ["PYTHONPATH"].split(os.pathsep)
    folders = [os.path.abspath(entry) if entry else _working_folder() for entry in entries]
    named = [folder for folder in folders if folder != library]
    return named, [folder for folder, entry in zip(folders, entries) if entry and folder in named]  # noqa: B905


def _import_again(left: list[str]) -> None:
    """Take the installed package where a folder that has left the front was the one found.

    ``python -m maskmill`` beside a checkout finds the checkout's folder, a part of the whole.
    """
    package = sys.modules.get(PACKAGE)
    home = os.path.dirname(os.path.dirname(str(package.__file__))) if package else ""
    if package is None or _real(home) not in {_real(folder) for folder in left}:
        return
    loaded = {name: sys.modules.pop(name) for name in _loaded_modules()}
    try:
        __import__(PACKAGE)
    except ModuleNotFoundError:
        sys.path.append(home)  # it is installed there and nowhere else
        sys.modules.update(loaded)


def _loaded_modules() -> list[str]:
    return [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]


def _is_installed(folder: str) -> bool:
    """Whether an installer put packages into a folder."""
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:
        return False


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _real(folder: str) -> str:
    return os.path.realpath(folder) if folder else _working_folder()
