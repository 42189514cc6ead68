"""What a machine must see of a run before it is given work, asked from where it is missing."""

import shutil
from pathlib import Path

import pytest

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.numbering import BlockLimits, build_manifest
from maskmill.pipeline.runs.visibility import Visibility, mark_run
from maskmill.pipeline.sources.registry import list_source
from tests.sick_images import write_small_pictures


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_small_pictures(tmp_path / "in", 5, seed=1)
    return tmp_path / "in"


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout(str(tmp_path / "out"))


def marked(source: Path, layout: RunLayout) -> Visibility:
    manifest, _ = build_manifest(list_source(str(source)), BlockLimits(images=2))
    manifest.put(layout)
    return mark_run(layout, [0, 1, 2])


def test_who_sees_all_says_nothing(source, layout):
    seen = marked(source, layout)
    keys = sorted(str(path) for path in source.rglob("*.*"))
    assert seen.samples == (keys[0], keys[4])  # of the first block and of the last
    assert seen() is None
    assert mark_run(layout, [])() is None
    assert [path for path in layout.local("work/tmp").iterdir() if path.stat().st_size == 0] == []


def test_a_source_that_is_not_there_is_named(source, layout):
    seen = marked(source, layout)
    shutil.rmtree(source)
    assert seen() == f"does not see {seen.samples[0]} of SOURCE"


def test_an_archive_stands_for_its_members(source, layout, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "all"), "zip", source))
    seen = marked(archive, layout)
    assert seen.samples == (str(archive),)
    assert seen() is None
    archive.unlink()
    assert seen() == f"does not see {archive} of SOURCE"


def test_a_file_that_is_nowhere_is_no_node_s_fault(source, layout):
    lost = sorted(source.rglob("*.*"))[0]
    manifest, _ = build_manifest(list_source(str(source)), BlockLimits(images=2))
    manifest.put(layout)
    lost.unlink()
    assert mark_run(layout, [0, 1, 2])() is None


def test_another_folder_of_the_same_name_is_not_the_run(source, layout):
    seen = marked(source, layout)
    layout.local(seen.mark).write_text("another run's")
    assert seen() == f"has another folder than this run's at OUT {layout.root}"
    shutil.rmtree(layout.root)
    assert "does not see OUT" in str(seen())
    layout.local("").write_text("a file")
    assert "OUT" in str(seen())


def test_a_bucket_without_the_right_to_write_is_told(source, layout, monkeypatch):
    def refuse(self: RunLayout, relative: str, data: bytes) -> None:
        raise PermissionError(13, "access denied to these credentials (403)")

    seen = marked(source, layout)
    monkeypatch.setattr(RunLayout, "write", refuse)
    assert "cannot read and write OUT" in str(seen()) and "access denied" in str(seen())
