"""Which images a list names: by key, by path, by name without extension; and what fits nothing."""

import posixpath
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.pictures.names import stem_of
from maskmill.pipeline.selection.image_list import list_text
from maskmill.pipeline.selection.named_images import find_named, read_names
from maskmill.pipeline.sources.registry import list_source
from maskmill.schemas.errors import SettingsError
from tests.pipeline.selection.pictures import encoded, scene
from tests.pipeline.sources.test_containers import write_tar, write_zip

KEYS = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "c/7.png"]
URIS = [f"/data/{key}" for key in KEYS]


def found(tmp_path, *lines: str, uris=URIS, keys=KEYS):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines))
    return find_named(read_names(str(path)), images(keys, uris), option="--skip")


def images(keys, uris) -> list[pa.Table]:
    """Two tables, so that nothing hangs on what comes together."""
    columns = {"key": keys} if uris is None else {"key": keys, "uri": uris}
    table = pa.table(columns)
    return [table.slice(0, 2), table.slice(2)]


def chosen(tmp_path, *lines: str, **options) -> list[str]:
    return [KEYS[place] for place in np.flatnonzero(found(tmp_path, *lines, **options).chosen)]


def test_keys_paths_and_names_without_extension(tmp_path):
    assert chosen(tmp_path, "a/2.jpg", "/data/b/1.jpg", "c/7") == ["a/2.jpg", "b/1.jpg", "c/7.png"]


def test_another_place_with_the_same_end_is_another_picture(tmp_path):
    assert chosen(tmp_path, "/elsewhere/a/1.jpg", "a/2.jpg") == ["a/2.jpg"]
    (note,) = found(tmp_path, "/elsewhere/a/1.jpg", "a/2.jpg").notes
    assert "1 of 2 names fit no image, first /elsewhere/a/1.jpg" in note


def test_where_places_are_not_known_the_longest_end_of_a_path_counts_and_is_said(tmp_path):
    lines = ("/moved/to/b/1.jpg", "/moved/to/c/7.tif")
    assert chosen(tmp_path, *lines, uris=None) == ["b/1.jpg", "c/7.png"]
    notes = " ".join(found(tmp_path, *lines, uris=None).notes)
    assert "by the end of their path" in notes and "without their extension" in notes


def test_a_name_that_fits_two_images_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="'x' fits 2 images that differ in their extension"):
        found(tmp_path, "x", keys=["x.jpg", "x.png"], uris=["/x.jpg", "/x.png"])


TEXTS = st.text(st.sampled_from("ab/."), min_size=1, max_size=4).map(posixpath.normpath)
NAMED = st.lists(st.tuples(TEXTS, st.sampled_from(["", ".jpg", ".png", ".x"])).map("".join))


@given(keys=NAMED, lines=NAMED, told=st.sampled_from(["/d", "/e", None]))
@settings(deadline=None, max_examples=200)
def test_names_are_found_as_by_looking_each_up(tmp_path_factory, keys, lines, told):
    """The rule of the page, over dictionaries: uri, key, key without extension; or longest end."""
    keys = sorted({key for key in keys if not key.startswith((".", "/"))})
    lines = [line for line in lines if not line.startswith((".", "#"))]
    if not keys or not lines:
        return
    uris = None if told is None else [f"{told}/{key}" for key in keys]
    wanted: set[int] = set()
    ambiguous = None
    for line in lines:
        place = posixpath.normpath(posixpath.join("/d", line))
        meant = [(keys, posixpath.normpath(line))]
        if uris is None:
            parts = place.strip("/").split("/")
            for end in ("/".join(parts[first:]) for first in range(len(parts))):
                meant += [(keys, end), ([stem_of(key) for key in keys], stem_of(end))]
        else:
            stems = ([stem_of(key) for key in keys], stem_of(posixpath.normpath(line)))
            meant = [(uris, place), *meant, stems]
        hits = [[n for n, one in enumerate(texts) if one == text] for texts, text in meant]
        first = next((hit for hit in hits if hit), [])
        ambiguous = ambiguous or (line if len(first) > 1 else None)
        wanted |= set(first)
    folder = tmp_path_factory.mktemp("d")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maskmill.pipeline.selection.named_images.folder_of", lambda source: "/d")
        try:
            result = found(folder, *lines, keys=keys, uris=uris)
        except SettingsError as refusal:
            assert (ambiguous and "extension only" in str(refusal)) or not wanted, refusal
        else:
            assert not ambiguous and set(np.flatnonzero(result.chosen)) == wanted


def test_a_folder_without_masks_is_no_data_set(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match="names no image: give a text list"):
        read_names(str(tmp_path / "folder"))


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_list_that_was_written_gives_the_same_keys_and_pictures(tmp_path, kind):
    """Also where all chosen ones lie in one folder below the root, with awkward names."""
    members = {
        name: encoded(scene(number), "PNG")
        for number, name in enumerate(["a/1 %.png", "a/2#!.png", "b/3.png"])
    }
    if kind == "folder":
        source = tmp_path / "in"
        for name, data in members.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    else:
        source = (write_zip if kind == "zip" else write_tar)(tmp_path / f"x.{kind}", members)
    rows = list_source(str(source)).table.to_pylist()
    path = tmp_path / "chosen.txt"
    path.write_text(list_text(rows[:2]))
    again = list_source(str(path)).table.to_pylist()
    assert [(row["key"], row["uri"]) for row in again] == [
        (row["key"], row["uri"]) for row in rows[:2]
    ]
    names = read_names(str(path))
    keys, uris = ([row[name] for row in rows] for name in ("key", "uri"))
    assert find_named(names, images(keys, uris), option="--skip").chosen.tolist() == [
        True,
        True,
        False,
    ]
    assert find_named(names, images(keys, None), option="--only").chosen.tolist() == [
        True,
        True,
        False,
    ]


BUDGET = """
import sys
from pathlib import Path
from maskmill.pipeline.selection.skipping import whole, without_named
from maskmill.pipeline.sources.entries import SourceEntry
from maskmill.pipeline.sources.registry import Listing, sorted_entries

count, path = int(sys.argv[1]), sys.argv[2]
root = "/data/" + "a-long-way-down/" * 6
with open(path, "w") as stream:
    stream.writelines(f"{root}Frame_{number:010}.jpg\\n" for number in range(0, count, 2))
keys = (f"Frame_{number:010}.jpg" for number in range(count))
rows = sorted_entries(SourceEntry(key, root + key, 1000) for key in keys)
rest = without_named(whole(Listing(root, "folder", root, rows, {}, ())), [path])
assert len(rest.listing) == rest.num_skipped == count // 2
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_grows_neither_with_the_names_nor_with_the_images(tmp_path):
    """200,000 images more, half of them named: 140 MB if they were held."""
    peaks = []
    for count in (200_000, 400_000):
        command = [sys.executable, "-c", BUDGET, str(count), str(tmp_path / "names.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 40, peaks
