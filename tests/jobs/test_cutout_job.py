"""`maskmill cutout` as people use it: cutouts, rows, exit codes, second runs, other backgrounds."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.jobs.cutout import LEFT_OUT, cutout
from maskmill.jobs.prelabel import prelabel
from maskmill.pipeline.models.registry import DEFAULT_MODEL
from maskmill.pipeline.prelabel.cutout import CutoutSettings
from maskmill.schemas.tables.prelabel import METADATA
from tests.jobs.in_process import run_in_process
from tests.sick_images import write_small_pictures

LOOK = ("--background", "remove", "--classes", "person")
QUICK = ("--block-images", 3, "--precision", "fp32")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared, run_module_maskmill):
    """Cutouts of people in a real picture, seven drawn ones and a sick file; not to be changed."""
    source = tmp_path_factory.mktemp("photos")
    write_small_pictures(source, 7, seed=1)
    shutil.copy(shared / "data/voc/2011_000003.jpg", source / "people.jpg")
    (source / "sick.jpg").write_bytes((source / "people.jpg").read_bytes()[:3000])
    out = tmp_path_factory.mktemp("run") / "out"
    result = run_module_maskmill("cutout", source, out, *LOOK, *QUICK, "--json")
    return source, out, result


def rows_of(out):
    return pq.read_table(out / "metadata", schema=METADATA).sort_by("image_id").to_pylist()


def test_bad_file_is_a_failed_row_and_the_others_are_cut_out(finished):
    _, out, result = finished
    assert result.returncode == 3, result.stderr
    document = json.loads(result.stdout)
    assert {key: document["ledger"][key] for key in ("inputs", "ok", "failed", "pending")} == {
        "inputs": 9, "ok": 8, "failed": 1, "pending": 0,
    }  # fmt: skip
    assert document["files"]["cutouts"] == f"{out}/cutouts/"
    sick = next(row for row in rows_of(out) if row["status"] == "failed")
    assert (sick["key"], sick["error_code"]) == ("sick.jpg", "truncated")
    assert sick["error_message"]
    assert not (out / "cutouts/sick.png").exists()


def test_cutouts_lie_in_the_sources_folders_and_have_its_sizes(finished):
    source, out, _ = finished
    for row in rows_of(out):
        if row["status"] == "ok":
            path = out / "cutouts" / row["mask_path"].removeprefix("masks/")
            with Image.open(path) as cut, Image.open(source / row["key"]) as picture:
                assert (cut.format, cut.mode, cut.size) == ("PNG", "RGBA", picture.size)
    assert len([path for path in (out / "cutouts").rglob("*") if path.is_file()]) == 8


def test_people_stay_and_everything_else_goes(finished, shared):
    _, out, _ = finished
    cut = np.asarray(Image.open(out / "cutouts/people.png"))
    picture = np.asarray(Image.open(shared / "data/voc/2011_000003.jpg").convert("RGB"))
    truth = np.asarray(Image.open(shared / "data/voc/2011_000003_voc_official.png"))
    kept = cut[..., 3] > 127
    people, known = truth == 15, truth != 255
    assert (kept & people).sum() / ((kept | people) & known).sum() > 0.7
    whole = cut[..., 3] == 255
    assert np.abs(cut[whole][:, :3].astype(int) - picture[whole]).max() <= 3  # another JPEG decoder


def test_verify_proves_a_cutout_run(finished, maskmill):
    result = maskmill("verify", finished[1], "--inputs")
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((finished[1] / "run.json").read_text())["command"] == "cutout"


def test_second_run_does_nothing(finished, maskmill):
    source, out, _ = finished
    result = maskmill("cutout", source, out, *LOOK, *QUICK, "--allow-failures")
    assert result.returncode == 0, result.stderr
    assert "nothing to do, all 9 images have a row" in result.stdout


def test_lost_block_is_done_again_to_the_same_bytes(finished, tmp_path):
    """Without Ray this time: who calls the operators makes no difference."""
    source, out, _ = finished
    shutil.copytree(out, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out/cutouts").rglob("*.png")}
    (tmp_path / "out/metadata/block-0000001.parquet").unlink()
    for row in rows_of(out)[3:6]:  # one of them the sick one
        (tmp_path / "out/cutouts" / row["key"]).with_suffix(".png").unlink(missing_ok=True)
    look = CutoutSettings(background="remove", classes=("person",))
    run_in_process(
        source, tmp_path / "out", model=DEFAULT_MODEL, untrained=False, image_size=None,
        block_images=3, precision="auto", command="cutout", writers=("masks", "cutouts"),
        writer_settings={"cutouts": look},
    )  # fmt: skip
    assert [row["status"] for row in rows_of(tmp_path / "out")].count("ok") == len(before) == 8
    after = {path: path.read_bytes() for path in (tmp_path / "out/cutouts").rglob("*.png")}
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (("--background", "blur", "--classes", "person"), '{"background": "remove"} there, '),
        ((*LOOK, "--threshold", "0.4"), '{"threshold": 0.5} there, {"threshold": 0.4} asked for'),
    ],
)
def test_another_look_in_the_same_folder_is_refused_with_what_differs(
    finished, arguments, difference
):
    source, out, _ = finished
    given = ["cutout", str(source), str(out), "--block-images", "3", *arguments]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 2, result.output
    assert "holds a different run" in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("  cutouts: ")]
    assert difference in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--classes", "persn"), "no class 'persn' in label map 'voc'; it has: background, aero"),
        (("--background", "color", "--color", "1,2"), "'1,2' is not R,G,B"),
        (("--background", "color", "--color", "1,2,256"), "'1,2,256' is not R,G,B"),
        (("--color", "1,2,3"), "is for --background color"),
        (("--background", "burn"), "'burn' is not one of"),
        (("--threshold", "1"), "1.0 is not in the range 0<x<1"),
        (("--model", "unet"), "no model 'unet'"),
    ],
)
def test_wrong_usage_is_said_plainly_and_writes_nothing(
    tmp_path, default_weights, arguments, message
):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    given = ["cutout", str(tmp_path / "a.png"), str(tmp_path / "out"), *arguments]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "out/run.json").exists()


def test_dry_run_names_the_cutouts_and_writes_nothing(tmp_path, default_weights):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    given = ["cutout", str(tmp_path / "a.png"), str(tmp_path / "out"), "--dry-run", "--json"]
    result = CliRunner().invoke(main, [*given, "--background", "color", "--color", " 1, 2,3"])
    assert result.exit_code == 0, result.output
    assert {"masks/….png", "cutouts/….jpg"} <= set(json.loads(result.output)["would_write"])
    assert not (tmp_path / "out").exists()


def test_options_of_prelabel_are_those_of_cutout_too():
    own = [parameter.name for parameter in cutout.params]
    assert len(own) == len(set(own))
    assert {parameter.name for parameter in prelabel.params} - set(own) == set(LEFT_OUT) - {
        "threshold"  # which means something else here
    }
