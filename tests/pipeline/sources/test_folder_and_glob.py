"""Folders and globs: what is taken, what is counted, what is not entered."""

import glob
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS
from maskmill.pipeline.sources.frame_choice import FrameChoice
from maskmill.pipeline.sources.glob_pattern import pattern_to_regex
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import SettingsError

EVERY_KEY = sorted(
    [
        "a.jpg",
        "B.JPG",
        "sub/c.png",
        "sub/deep/d.jpeg",
        "100% #1?.jpg",
        "Füße/ñandú.webp",
        "with [brackets].tif",
        "a%20b.jpg",
    ]
)


def keys_of(source, **options) -> list[str]:
    return [entry.key for entry in list_source(str(source), **options).entries]


RUN_FILES = ("run.json", "manifest/manifest.parquet")


def test_pictures_of_runs_are_left_out_and_counted(photos: Path, jpeg: bytes):
    """Not what only resembles a run, nor a folder in a run that is the source itself."""
    for name in ("sub/run 1/masks/x.png", "sub/run 1/frames/y.png", "run 2/overlays/z.jpg",
                 "run 2/.w.png", "run 2/videos/v.mp4", "no run/masks/b.png",
                 *(f"{run}/{name}" for run in ("sub/run 1", "run 2") for name in RUN_FILES),
                 "no run/run.json", "run 2 too/c.png"):  # fmt: skip
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(jpeg)
    plain = list_source(str(photos), frames=FrameChoice())
    listing = list_source(str(photos), frames=FrameChoice(), run_files=RUN_FILES)
    others = ["no run/masks/b.png", "run 2 too/c.png"]
    assert [entry.key for entry in listing.entries] == sorted([*EVERY_KEY, *others])
    assert listing.not_considered == {**plain.not_considered, "of a run": 4}
    assert (plain.videos, listing.videos) == (1, 0)
    (note,) = listing.notes
    assert "2 folders of runs are left out, first run 2" in note
    inside = list_source(str(photos / "sub/run 1/frames"), run_files=RUN_FILES)
    assert [entry.key for entry in inside.entries] == ["y.png"]


def test_a_folder_takes_pictures_and_counts_the_rest(photos: Path, jpeg: bytes):
    listing = list_source(str(photos))
    assert listing.kind == "folder"
    assert listing.root == str(photos)
    assert [entry.key for entry in listing.entries] == EVERY_KEY
    assert listing.not_considered == {
        ".csv": 1,
        ".pdf": 1,
        ".txt": 2,
        "hidden": 3,
        "no extension": 1,
    }
    for entry in listing.entries:
        assert entry.size == len(jpeg)
        assert read_bytes(entry.uri) == jpeg


def test_a_relative_folder_and_a_slash_at_the_end(photos: Path, monkeypatch):
    monkeypatch.chdir(photos.parent)
    for source in ("my photos", "my photos/", "./my photos", photos.as_uri()):
        listing = list_source(source)
        assert [entry.key for entry in listing.entries] == EVERY_KEY
        assert {entry.uri.startswith(str(photos)) for entry in listing.entries} == {True}


def test_links_are_followed_once_and_loops_never(photos: Path, jpeg: bytes):
    (photos / "sub" / "up").symlink_to(photos)
    (photos / "sub" / "self").symlink_to(photos / "sub")
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.jpg").write_bytes(jpeg)
    (photos / "linked").symlink_to(elsewhere)
    (photos / "one.jpg").symlink_to(elsewhere / "far.jpg")
    listing = list_source(str(photos))
    expected = sorted([*EVERY_KEY, "linked/far.jpg", "one.jpg"])
    assert [entry.key for entry in listing.entries] == expected
    assert len(listing.notes) == 2


def test_a_loop_through_a_linked_folder_ends(photos: Path):
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "back").symlink_to(elsewhere)
    (elsewhere / "home").symlink_to(photos)
    (photos / "out").symlink_to(elsewhere)
    assert keys_of(photos) == EVERY_KEY


def test_a_broken_link_is_listed_without_size(photos: Path):
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    entry = next(entry for entry in list_source(str(photos)).entries if entry.key == "gone.jpg")
    assert entry.size is None


def test_a_name_that_is_not_utf8(photos: Path, jpeg: bytes):
    (Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg"))).write_bytes(jpeg)
    entry = next(entry for entry in list_source(str(photos)).entries if "caf" in entry.key)
    assert entry.key == "caf\\xe9.jpg"
    assert read_bytes(entry.uri) == jpeg


def test_the_output_folder_is_not_entered(photos: Path, jpeg: bytes):
    out = photos / "out"
    (out / "masks").mkdir(parents=True)
    (out / "masks" / "a.png").write_bytes(jpeg)
    listing = list_source(str(photos), exclude=(str(out),))
    assert [entry.key for entry in listing.entries] == EVERY_KEY
    assert "out" in listing.notes[0]
    assert "out/masks/a.png" in keys_of(photos)
    with pytest.raises(SettingsError, match="both source and output"):
        list_source(str(photos), exclude=(str(photos),))


def test_a_folder_that_cannot_be_listed_stops(photos: Path, monkeypatch):
    real = os.scandir

    def refuse(folder):
        if str(folder).rstrip("/").endswith("deep"):
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(SettingsError, match=r"deep.*Permission denied"):
        list_source(str(photos))


def test_nothing_found_says_what_was_there(tmp_path: Path):
    with pytest.raises(SettingsError, match="no image found"):
        list_source(str(tmp_path))
    for name in ("a.txt", "b.txt", "c.txt", "d.pdf"):
        (tmp_path / name).touch()
    with pytest.raises(
        SettingsError, match=r"4 files of other kinds not considered: \.txt 3, \.pdf 1"
    ):
        list_source(str(tmp_path))


@pytest.mark.parametrize("source", ["nowhere", "/nowhere/at/all", "no/such.jpg"])
def test_a_missing_source(source: str):
    with pytest.raises(SettingsError, match="does not exist"):
        list_source(source)


def test_an_unknown_kind(tmp_path: Path):
    with pytest.raises(SettingsError, match="folder, glob, file"):
        list_source(str(tmp_path), kind="floppy")


def test_a_file_that_is_nothing_known(tmp_path: Path):
    (tmp_path / "movie.exe").touch()
    with pytest.raises(SettingsError, match="cannot tell"):
        list_source(str(tmp_path / "movie.exe"))


@pytest.mark.parametrize(
    ("pattern", "root", "keys"),
    [
        ("*.jpg", "", ["100% #1?.jpg", "a%20b.jpg", "a.jpg"]),
        ("sub/*", "sub", ["c.png"]),
        ("**/*.*", "", EVERY_KEY),
        ("sub/**", "sub", ["c.png", "deep/d.jpeg"]),
        ("s?b/deep/*", "", ["sub/deep/d.jpeg"]),
        ("[ab].jpg", "", ["a.jpg"]),
        ("[!a]*.jp*g", "", ["100% #1?.jpg"]),
        (".*.jpg", "", [".hidden.jpg"]),
        ("with [[]brackets].tif", "", ["with [brackets].tif"]),
    ],
)
def test_globs(photos: Path, pattern: str, root: str, keys: list[str]):
    listing = list_source(str(photos / pattern))
    assert listing.kind == "glob"
    assert listing.root == str(photos / root).rstrip("/")
    assert [entry.key for entry in listing.entries] == keys


def test_a_glob_counts_what_it_matches_and_does_not_take(photos: Path):
    assert list_source(str(photos / "sub/*")).not_considered == {".pdf": 1, ".txt": 1}


def test_a_name_with_wildcards_that_exists_is_that_file(photos: Path):
    for name in ("with [brackets].tif", "100% #1?.jpg"):
        listing = list_source(str(photos / name))
        assert (listing.kind, [entry.key for entry in listing.entries]) == ("file", [name])


def test_a_glob_without_its_folder(tmp_path: Path):
    with pytest.raises(SettingsError, match="not a folder"):
        list_source(str(tmp_path / "nowhere" / "*.jpg"))


PATTERN = st.lists(
    st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", ".", "**/", "x/", "*/", "-"]),
    min_size=1,
    max_size=6,
).map("".join)


@given(PATTERN)
@settings(max_examples=200, deadline=None)
def test_globs_match_what_pythons_glob_matches(tmp_path_factory, pattern):
    folder = tmp_path_factory.getbasetemp() / "tree"
    names = ("a", "b", "ab", "a.b", "x/a", "x/b.a", "x/x/ab", "a-/a", "-")
    if not folder.exists():
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                path.touch()
    import re

    regex = re.compile(pattern_to_regex(pattern))
    ours = {name for name in names if (folder / name).is_file() and regex.fullmatch(name)}
    found = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 - the oracle
    theirs = {os.path.normpath(name) for name in found if (folder / name).is_file()}
    if "**" in pattern.replace("**/", ""):  # a ** inside a name: ours stays within the name
        return
    assert ours == theirs, pattern


def test_extensions_are_lower_case_and_have_a_reader():
    import pillow_heif
    from PIL import Image

    from maskmill.pipeline.pictures.decoding import FORMATS

    Image.init()
    pillow_heif.register_heif_opener()
    for extension in IMAGE_EXTENSIONS:
        assert extension == extension.lower()
        assert Image.registered_extensions().get(extension) in (*FORMATS, "MPO"), extension
