"""Names beyond ASCII, under every locale; names with a NUL; names that are not UTF-8."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.sources.registry import list_source
from maskmill.schemas.errors import SettingsError

RUN = """
import sys
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lock import run_lock
from maskmill.pipeline.runs.manifest import read_manifest
from maskmill.pipeline.runs.numbering import build_manifest
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import read_bytes
manifest, _ = build_manifest(list_source(sys.argv[1]))
layout = RunLayout(sys.argv[2])
with run_lock(layout) as lock:
    manifest.put(layout)
    for row in read_manifest(layout).to_pylist():
        layout.write(f"masks/{row['output']}.png", read_bytes(row["uri"]))
        assert layout.read(f"masks/{row['output']}.png") == b"1"
        print(ascii(row["key"]))
    lock.check()
"""
LOCALES = (
    {"LANG": "C"},
    {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},  # a Python that speaks ASCII
)


@pytest.mark.parametrize("locale", LOCALES)
def test_names_beyond_ascii_under_every_locale(tmp_path: Path, locale: dict[str, str]):
    photos, out = tmp_path / "Füße", tmp_path / "Ausgäbe"
    (photos / "日本").mkdir(parents=True)
    (photos / "日本/größe.jpg").write_bytes(b"1")
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
    clean = {k: v for k, v in os.environ.items() if k not in ("LANG", "LC_ALL", "LC_CTYPE")}
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(photos), str(out)],
        env=clean | locale,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [ascii("caf\\xe9.jpg"), ascii("日本/größe.jpg")]
    assert (out / "masks/日本/größe.png").read_bytes() == b"1"


def test_a_place_that_is_not_utf8_is_a_sentence(tmp_path: Path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(SettingsError, match=r"not UTF-8.*rename it"):
        list_source(str(folder))
    with pytest.raises(SettingsError, match=r"not UTF-8.*rename it"):
        RunLayout(str(folder)).write("x", b"1")


def test_a_nul_in_a_list_or_an_output_is_a_sentence(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "list.txt").write_text("a.jpg\na\0b.jpg\n")
    images = [{"file_name": "a.jpg"}, {"file_name": "a\0b.jpg"}]
    (tmp_path / "list.json").write_text(json.dumps({"images": images}))
    with pytest.raises(SettingsError, match="NUL"):
        list_source(str(tmp_path / "list.txt"))
    listing = list_source(str(tmp_path / "list.json"))  # an entry of a document costs itself
    assert listing.table["key"].to_pylist() == ["a.jpg"]
    assert "1 of its images are left out" in listing.notes[0] and "holds a NUL" in listing.notes[0]
    with pytest.raises(SettingsError, match="NUL"):
        RunLayout(str(tmp_path / "out\0put")).write("x", b"1")
