"""Which images a list names: by key, by path, by name without extension; and what fits nothing."""

import numpy as np
import pytest

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
    return find_named(read_names(str(path)), keys, uris, option="--skip")


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
    assert find_named(names, keys, uris, option="--skip").chosen.tolist() == [True, True, False]
    assert find_named(names, keys, None, option="--only").chosen.tolist() == [True, True, False]
