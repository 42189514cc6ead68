"""What is left out before a run begins: named images, and copies of others."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.schemas.errors import RunRefused, SettingsError
from maskmill.schemas.tables.selection import SKIPPED
from tests.jobs.in_process import run_in_process
from tests.pipeline.selection.pictures import copies, encoded, scene
from tests.sick_images import write_sick_images


def write_scenes(folder: Path, count: int, *, first: int = 0) -> list[str]:
    names = [f"{number:03}.png" for number in range(first, first + count)]
    for number, name in enumerate(names, first):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(scene(number), "PNG"))
    return names


def write_copies(folder: Path, number: int) -> int:
    for name, data in copies(scene(number)):
        (folder / f"{number:03}-{name}").write_bytes(data)
    return len(list(copies(scene(number))))


def keys_of(out: Path) -> list[str]:
    return pq.read_table(out / "metadata")["key"].to_pylist()


def skipped(out: Path) -> dict[str, tuple[str, str]]:
    table = pq.read_table(out / "skipped.parquet").cast(SKIPPED)
    return {row["key"]: (row["reason"], row["of"]) for row in table.to_pylist()}


def test_what_a_list_names_is_no_input_and_is_listed(tmp_path):
    names = write_scenes(tmp_path / "in", 6)
    done = tmp_path / "done.txt"
    done.write_text(f"{names[1]}\n{tmp_path / 'in' / names[3]}\nnever-there.png\n")
    out = tmp_path / "out"
    layout = run_in_process(tmp_path / "in", out, skip=(str(done),))
    assert keys_of(out) == [names[n] for n in (0, 2, 4, 5)]
    assert skipped(out) == {names[n]: ("skip", str(done)) for n in (1, 3)}
    ledger = json.loads((out / "run.json").read_text())["ledger"]
    assert (ledger["inputs"], ledger["ok"]) == (4, 4)
    assert [text for step in verify_run(layout) for text in step.problems] == []
    run_in_process(tmp_path / "in", out, skip=(str(done),))  # the same command goes on
    with pytest.raises(RunRefused, match="2 new, first 001"):
        run_in_process(tmp_path / "in", out)


@pytest.mark.parametrize("kind", ["masks", "run"])
def test_what_a_data_set_holds_is_no_input(tmp_path, kind):
    names = write_scenes(tmp_path / "in", 5)
    write_scenes(tmp_path / "some", 2, first=1)
    run_in_process(tmp_path / "some", tmp_path / "earlier")
    source = {"masks": tmp_path / "earlier/masks", "run": tmp_path / "earlier"}[kind]
    run_in_process(tmp_path / "in", tmp_path / "out", skip=(str(source), str(source)))
    assert keys_of(tmp_path / "out") == [names[n] for n in (0, 3, 4)]
    assert set(skipped(tmp_path / "out")) == set(names[1:3])


def test_names_that_fit_nothing_or_everything_are_refused(tmp_path):
    names = write_scenes(tmp_path / "in", 2)
    other, every = tmp_path / "other.txt", tmp_path / "every.txt"
    other.write_text("elsewhere/1.png\n")
    every.write_text("\n".join(names))
    with pytest.raises(SettingsError, match="none of the 1 names of the list fits an image"):
        run_in_process(tmp_path / "in", tmp_path / "out", skip=(str(other),))
    with pytest.raises(SettingsError, match="names every image"):
        run_in_process(tmp_path / "in", tmp_path / "out", skip=(str(every),))
    assert not (tmp_path / "out/run.json").exists()


def test_of_copies_one_is_labelled_and_the_others_are_listed_with_it(tmp_path):
    write_scenes(tmp_path / "in", 8)
    write_sick_images(tmp_path / "in", 2, seed=1)
    made = write_copies(tmp_path / "in", 2)
    (tmp_path / "in/same.png").write_bytes(encoded(scene(5), "PNG"))
    out = tmp_path / "out"
    layout = run_in_process(tmp_path / "in", out, skip_duplicates=True)
    left_out = skipped(out)
    assert len(left_out) == made + 1
    kept = "002-scale1.5.jpg"  # of most pixels
    assert {of for key, (_, of) in left_out.items() if key.startswith("002")} == {kept}
    assert left_out["same.png"] == ("exact", "005.png")
    assert len(keys_of(out)) == 10 and kept in keys_of(out)
    assert [text for step in verify_run(layout) for text in step.problems] == []


def test_a_grown_source_is_held_against_what_the_run_has(tmp_path):
    """Copies that are larger than what was labelled do not take its place."""
    write_scenes(tmp_path / "in", 4)
    out = tmp_path / "out"
    run_in_process(tmp_path / "in", out, skip_duplicates=True)
    looked_at = (out / "manifest/fingerprints.parquet").stat().st_mtime_ns
    run_in_process(tmp_path / "in", out, skip_duplicates=True)
    assert (out / "manifest/fingerprints.parquet").stat().st_mtime_ns == looked_at
    made = write_copies(tmp_path / "in", 2)
    run_in_process(tmp_path / "in", out, skip_duplicates=True)  # nothing new: no other images
    assert {of for _, of in skipped(out).values()} == {"002.png"}
    write_scenes(tmp_path / "in", 2, first=20)
    with pytest.raises(RunRefused, match="2 new"):
        run_in_process(tmp_path / "in", out, skip_duplicates=True)
    run_in_process(tmp_path / "in", out, skip_duplicates=True, extend=True)
    assert len(keys_of(out)) == 6 and len(skipped(out)) == made
