"""`select`, `duplicates` and `convert --only` on a run, as commands."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from maskmill.jobs.cli import main
from maskmill.schemas.tables.selection import DUPLICATES, SELECTION
from tests.jobs.in_process import run_in_process
from tests.pipeline.selection.pictures import copies, encoded, scene


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """A run with features over nine different pictures and eight copies of one of them."""
    folder = tmp_path_factory.mktemp("selection")
    (folder / "in/sub").mkdir(parents=True)
    for number in range(9):
        (folder / f"in/{number}.png").write_bytes(encoded(scene(number), "PNG"))
    for name, data in copies(scene(4)):
        (folder / "in/sub" / name).write_bytes(data)
    run_in_process(folder / "in", folder / "out", writers=("masks", "features"))
    run_in_process(folder / "in", folder / "plain")
    return folder


def called(*arguments: object) -> dict:
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.mark.parametrize("out", ["out", "plain"])
def test_duplicates_with_features_and_without_find_the_planted_copies(labelled, out):
    for _ in range(2):  # the second time nothing is read again
        said = called("duplicates", labelled / out)
        assert (said["images"], said["groups"]) == (17, 1)
        assert said["exact"] + said["pixels"] + said["near"] == 8
        assert said["with_features"] == (out == "out")
    table = pq.read_table(said["files"]["table"]).cast(DUPLICATES).to_pylist()
    assert {row["key"] for row in table} == {"4.png", *(f"sub/{n}" for n, _ in copies(scene(4)))}
    assert table[0]["kind"] == "kept" and table[0]["key"] == "sub/scale1.5.jpg"
    assert all((row["similarity"] is None) == (out == "plain") for row in table[1:])
    assert len(Path(said["files"]["list"]).read_text().splitlines()) == 9  # the root, and eight


def test_a_list_of_select_goes_into_the_next_commands(labelled, tmp_path):
    called("duplicates", labelled / "out")
    chosen = tmp_path / "round1.txt"
    said = called("select", labelled / "out", "--count", 4, "--distinct", "--list", chosen)
    assert (said["chosen"], said["images"]) == (4, 9)
    table = pq.read_table(said["files"]["table"]).cast(SELECTION)
    keys = table["key"].to_pylist()
    assert len(set(keys)) == 4 and table["rank"].to_pylist() == [1, 2, 3, 4]
    again = run_in_process(chosen, tmp_path / "again")
    assert sorted(keys) == [key for part in again.committed_rows(["key"]) for key in
                            part["key"].to_pylist()]  # fmt: skip
    converted = called(
        "convert", labelled / "out", tmp_path / "coco", "--from", "prelabel", "--to", "coco",
        "--only", chosen, "--engine", "local",
    )  # fmt: skip
    assert converted["ledger"]["ok"] == 4
    written = tmp_path / "coco/dataset/annotations/instances_default.json"
    document = json.loads(written.read_text())
    assert sorted(image["file_name"] for image in document["images"]) == sorted(keys)
    more = called("select", labelled / "out", "--count", 99, "--exclude", chosen)
    assert more["known"] == 4 and more["chosen"] == 13
    assert not set(keys) & set(pq.read_table(said["files"]["table"])["key"].to_pylist())


def test_the_same_call_chooses_the_same(labelled):
    arguments = ("select", labelled / "out", "--count", 6, "--strategy", "diverse")
    first = called(*arguments)
    table = Path(first["files"]["table"]).read_bytes()
    called(*arguments)
    assert Path(first["files"]["table"]).read_bytes() == table


def test_what_cannot_be_is_said_with_its_remedy(labelled, tmp_path):
    assert "--write masks,features" in refused("select", labelled / "plain", "--count", 2)
    assert called("select", labelled / "plain", "--count", 2, "--strategy", "rare")["chosen"] == 2
    run_in_process(labelled / "in", tmp_path / "fresh")
    lacking = ("select", tmp_path / "fresh", "--count", 2, "--strategy", "rare", "--distinct")
    assert "maskmill duplicates" in refused(*lacking)
    assert "holds no labelled image" in refused("select", tmp_path, "--count", 2)
    other = tmp_path / "other.txt"
    other.write_text("nowhere/x.png\n")
    assert "fits an image" in refused("select", labelled / "out", "--count", 1, "--exclude", other)
    assert "--only" in refused(
        "convert", labelled / "out", tmp_path / "x", "--from", "prelabel", "--to", "coco",
        "--only", other, "--engine", "local",
    )  # fmt: skip
