"""A glob: ``*`` and ``?`` stay within a name, ``**`` crosses folders, ``[ab]`` is one letter.

The root is the fixed prefix: the folders before the first name with a wildcard.
"""

import re
from collections.abc import Iterator

from maskmill.pipeline.pictures.names import is_hidden
from maskmill.pipeline.sources.entries import (
    LazyListing,
    SourceEntry,
    SourceRequest,
    Tally,
    is_image_name,
    storable,
)
from maskmill.pipeline.sources.folder import walk
from maskmill.pipeline.storage.filesystems import is_uri, join_uri, local_path, resolve
from maskmill.schemas.errors import SettingsError

_WILDCARD = re.compile(r"[*?\[]")


def has_wildcard(source: str) -> bool:
    """True where ``*``, ``?`` or ``[`` occurs; in a URI only before its options."""
    return _WILDCARD.search(_split_options(source)[0]) is not None


def list_glob(request: SourceRequest, tally: Tally) -> LazyListing:
    """Every picture that matches the pattern, by extension.

    Raises:
        SettingsError: the folder of the fixed prefix does not exist.
    """
    root, _ = split_pattern(request.source)
    return LazyListing(root, _pictures(request, tally))


def _pictures(request: SourceRequest, tally: Tally) -> Iterator[SourceEntry]:
    root, _ = split_pattern(request.source)
    for key, size in matches(request.source, exclude=request.exclude, tally=tally):
        if is_image_name(key, tally, videos=request.frames is not None):
            yield SourceEntry(storable(key), join_uri(root, key), size)


def matches(
    source: str, *, exclude: tuple[str, ...], tally: Tally
) -> Iterator[tuple[str, int | None]]:
    """(key, size in bytes) of every file below the fixed prefix that matches the pattern."""
    root, pattern = split_pattern(source)
    _refuse_missing(root, source)
    regex = re.compile(pattern_to_regex(pattern))
    depth = None if "**" in pattern else pattern.count("/") + 1
    wants_hidden = is_hidden(pattern)
    for key, size in walk(root, exclude=exclude, tally=tally, max_depth=depth):
        if not regex.fullmatch(key):
            continue
        if is_hidden(key) and not wants_hidden:
            tally.not_considered["hidden"] += 1
        else:
            yield key, size


def split_pattern(source: str) -> tuple[str, str]:
    """(root, pattern below it): the folders before the first wildcard, and the rest."""
    text, options = _split_options(source)
    if not is_uri(source):
        text = str(local_path(source))
    wild = _WILDCARD.search(text)
    cut = text.rfind("/", 0, wild.start() if wild else len(text))
    root = text[:cut] if cut > 0 else "/"
    return root + options, text[cut + 1 :]


def pattern_to_regex(pattern: str) -> str:
    """The regular expression of a glob pattern below its root, for ``re.fullmatch``."""
    parts = pattern.split("/")
    pieces = []
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            pieces.append(".*" if last else "(?:[^/]+/)*")
        else:
            pieces.append(_name_to_regex(part) + ("" if last else "/"))
    return "(?s:" + "".join(pieces) + ")"


def _name_to_regex(part: str) -> str:
    tokens = re.findall(r"\*+|\?|\[!?\]?[^\]]*\]|.", part, flags=re.DOTALL)
    return "".join(map(_token_to_regex, tokens))


def _token_to_regex(token: str) -> str:
    if token.startswith("*"):
        return "[^/]*"
    if token == "?":
        return "[^/]"
    if len(token) > 1:
        inner = re.sub(r"([\\\[^&~|])", r"\\\1", token[1:-1])
        return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    return re.escape(token)


def _split_options(source: str) -> tuple[str, str]:
    """(text, options with their ``?``). A ``?`` in a URI starts options only when ``=`` follows."""
    if not is_uri(source):
        return source, ""
    found = re.search(r"\?[A-Za-z_]+=[^/]*$", source)
    return (source[: found.start()], found.group()) if found else (source, "")


def _refuse_missing(root: str, source: str) -> None:
    filesystem, path = resolve(root)
    if filesystem.get_file_info(path).type.name != "Directory":
        raise SettingsError(f"the glob {source} starts in {root}, which is not a folder")
