"""A folder and everything below it. Local folders are walked, remote ones listed by pyarrow.

Links to files and folders are followed; a link back to a folder on the way down is not entered.
Hidden files and folders are not taken, and counted as ``hidden``; so are pictures of runs, where
they are to be left out.
"""

import os
import posixpath
from collections.abc import Iterator

from pyarrow import fs

from maskmill.pipeline.pictures.names import is_hidden
from maskmill.pipeline.sources.entries import (
    OF_A_RUN,
    LazyListing,
    SourceEntry,
    SourceRequest,
    Tally,
    is_image_name,
    storable,
)
from maskmill.pipeline.storage.filesystems import infos_of, join_uri, local_path, reason_of, resolve
from maskmill.schemas.errors import SettingsError


def list_folder(request: SourceRequest, tally: Tally) -> LazyListing:
    """Every picture below a folder, by extension.

    Raises:
        SettingsError: not a folder, or a folder below it cannot be read (while iterating).
    """
    root = request.source if local_path(request.source) is None else local_path(request.source)
    return LazyListing(str(root), _pictures(str(root), request, tally))


def _pictures(root: str, request: SourceRequest, tally: Tally) -> Iterator[SourceEntry]:
    for key, size in walk(root, exclude=request.exclude, tally=tally):
        name = storable(key)
        if is_hidden(key):
            tally.not_considered["hidden"] += 1
        elif not is_image_name(key, tally, videos=request.frames is not None):
            _look_for_run(root, key, request.run_files, tally)
        elif name.startswith(tuple(tally.runs)):
            tally.not_considered[OF_A_RUN] += 1
        else:
            yield SourceEntry(name, join_uri(root, key), size)


def _look_for_run(root: str, key: str, run_files: tuple[str, ...], tally: Tally) -> None:
    """Looked for where the first of its files is. On a disk the files of a folder come before the
    folders in it, in a bucket by name.
    """
    if not run_files or not key.endswith(f"/{run_files[0]}"):
        return
    folder = key.removesuffix(run_files[0])
    if all(_is_file(root, folder + name) for name in run_files[1:]):
        tally.runs.append(storable(folder))


def _is_file(root: str, key: str) -> bool:
    path = local_path(root)
    if path is not None:
        return posixpath.isfile(posixpath.join(path, key))
    filesystem, inner = resolve(join_uri(root, key))
    return bool(filesystem.get_file_info(inner).type == fs.FileType.File)


def walk(
    root: str, *, exclude: tuple[str, ...], tally: Tally, max_depth: int | None = None
) -> Iterator[tuple[str, int | None]]:
    """(key, size in bytes) of every file below ``root``; size is None for a broken link.

    Args:
        root: local path or URI of a folder.
        exclude: folders that are not entered, as paths or URIs.
        tally: hears of links that are not followed.
        max_depth: 1 takes the files of the folder itself only; None all.
    """
    if local_path(root) is None:
        return _walk_remote(root, exclude, max_depth)
    skipped = {posixpath.realpath(path) for path in map(local_path, exclude) if path is not None}
    return _walk_local(str(local_path(root)), skipped, tally, max_depth)


def _walk_local(
    root: str, skipped: set[str], tally: Tally, max_depth: int | None
) -> Iterator[tuple[str, int | None]]:
    if posixpath.realpath(root) in skipped:
        raise _is_output(root)
    # (folder relative to root with a slash at its end, real paths of the folders on the way)
    stack: list[tuple[str, tuple[str, ...]]] = [("", (posixpath.realpath(root),))]
    while stack:
        prefix, way = stack.pop()
        for item in _scan(posixpath.join(root, prefix)):
            key = prefix + item.name
            if not item.is_dir():
                yield key, _size(item)
                continue
            if max_depth is not None and key.count("/") + 1 >= max_depth:
                continue
            real = posixpath.realpath(item.path) if item.is_symlink() else f"{way[-1]}/{item.name}"
            if real in skipped:
                tally.notes.append(f"the folder {storable(key)} is left out: it is for output")
            elif real in way:
                tally.notes.append(f"the link {storable(key)} leads back up: it is left out")
            else:
                stack.append((key + "/", (*way, real)))


def _is_output(root: str) -> SettingsError:
    return SettingsError(
        f"{root} is both source and output; results would be taken for pictures: "
        "choose another output folder"
    )


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            yield from items
    except OSError as error:
        raise SettingsError(
            f"cannot list the folder {storable(folder)}: {error.strerror}; "
            "the work list would be incomplete"
        ) from error


def _size(item: os.DirEntry[str]) -> int | None:
    try:
        return item.stat().st_size
    except OSError:  # a broken link, or gone since: reading it will say so in its row
        return None


def _walk_remote(
    root: str, exclude: tuple[str, ...], max_depth: int | None
) -> Iterator[tuple[str, int | None]]:
    filesystem, base = resolve(root)
    skipped = tuple(resolve(uri)[1].rstrip("/") + "/" for uri in exclude if local_path(uri) is None)
    if base.rstrip("/") + "/" in skipped:
        raise _is_output(root)
    selector = fs.FileSelector(base, recursive=max_depth != 1)
    try:
        for info in infos_of(filesystem, selector):
            key = info.path[len(base) :].lstrip("/")
            deep = max_depth is not None and key.count("/") >= max_depth
            if info.type == fs.FileType.File and not deep and not info.path.startswith(skipped):
                yield key, info.size
    except OSError as error:
        raise SettingsError(f"cannot list {root}: {reason_of(error)}") from error
