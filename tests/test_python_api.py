"""maskmill from Python: the commands' results, errors and names, and a process left as it was."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import maskmill
from maskmill.jobs.audit import audit_masks
from maskmill.jobs.convert import convert as convert_command
from maskmill.jobs.option_values import checked, names_of
from maskmill.jobs.prelabel import prelabel as prelabel_command
from maskmill.keywords import AuditKeywords, ConvertKeywords, PrelabelKeywords
from maskmill.pipeline.models.registry import DEFAULT_MODEL, find_model
from maskmill.pipeline.models.segmenter import load_network
from maskmill.pipeline.models.weights.origins import cached_path
from maskmill.schemas.errors import ImageFailure, SettingsError
from tests.sick_images import write_small_pictures

ROOT = Path(__file__).resolve().parents[1]
QUICK = {"image_size": 129}
UNTRAINED = {**QUICK, "model": "deeplabv3_mobilenet_v3_large", "untrained": True}


@pytest.fixture(scope="module")
def default_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cache that holds random weights for the default model, so that nothing is fetched."""
    spec = find_model(DEFAULT_MODEL)
    cache = tmp_path_factory.mktemp("cache")
    path = cached_path(spec, cache)
    path.parent.mkdir(parents=True)
    save_file(load_network(spec, None, untrained=True).state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKMILL_CACHE", str(cache))
        yield str(cache)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small pictures, one of them turned by its EXIF orientation, and one broken file."""
    folder = tmp_path_factory.mktemp("photos")
    write_small_pictures(folder, 2, seed=3)
    turned = Image.Exif()
    turned[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "turned.jpg", exif=turned)
    (folder / "zz_broken.jpg").write_bytes(b"\xff\xd8 and no more")
    return folder


@pytest.fixture(scope="module")
def labels(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "labels"
    run = maskmill.prelabel(photos, out, engine="local", flip=True, scales=[1, 0.5], **UNTRAINED)
    assert (run.ledger.ok, run.ledger.failed, run.state) == (3, 1, "finished")
    return out


def test_an_opened_run_has_rows_masks_pictures_and_overlays(labels: Path, photos: Path) -> None:
    run = maskmill.open_run(labels)
    assert run.command == "prelabel"
    assert run.rows.num_rows == run.ledger.inputs == 4
    assert run.read_rows(["key"]).column_names == ["key"]
    for row in run.rows.to_pylist()[:3]:
        mask = run.mask(row["key"])
        with Image.open(labels / row["mask_path"]) as file:
            assert np.array_equal(mask, np.asarray(file))
        assert run.image(row["key"]).shape == run.overlay(row["key"]).shape == (*mask.shape, 3)
        assert mask.shape == (row["height"], row["width"])
        assert run.row(row["key"]) == row
    with Image.open(photos / "turned.jpg") as file:
        upright = np.asarray(file.transpose(Image.Transpose.ROTATE_270).convert("RGB"))
    assert np.abs(run.image("turned.jpg").astype(int) - upright).max() <= 3  # two JPEG decoders
    assert run.labels.names[0] == "background"


def test_a_run_says_what_it_does_not_have(labels: Path, tmp_path: Path) -> None:
    run = maskmill.open_run(labels)
    with pytest.raises(ImageFailure, match="zz_broken"):
        run.mask("zz_broken.jpg")
    with pytest.raises(SettingsError, match=r"no row of 'absent\.jpg'"):
        run.image("absent.jpg")
    with pytest.raises(SettingsError, match="holds no run"):
        maskmill.open_run(tmp_path)


def test_a_model_labels_as_the_command_does(labels: Path, photos: Path) -> None:
    model = maskmill.load_model(
        UNTRAINED["model"], untrained=True, image_size=129, flip=True, scales=(0.5, 1)
    )
    run = maskmill.open_run(labels)
    assert model.labels == run.labels
    for key in run.rows["key"].to_pylist()[:3]:
        mask, confidence = model.predict(photos / key)
        assert np.array_equal(mask, run.mask(key))
        assert (confidence.dtype, confidence.shape) == (np.float32, mask.shape)
        assert 1 / 21 <= confidence.min() <= confidence.max() <= 1


def test_a_picture_may_come_in_any_form(photos: Path) -> None:
    model = maskmill.load_model(UNTRAINED["model"], untrained=True, image_size=129)
    grey = photos.parent / "grey.png"
    Image.fromarray(np.arange(60 * 50, dtype=np.uint8).reshape(60, 50)).save(grey)
    for path in (grey, *sorted(one for one in photos.rglob("*") if one.is_file())[:3]):
        with Image.open(path) as opened:
            by_pillow = model.predict(opened)
            is_turned = path.name == "turned.jpg"
            upright = opened.transpose(Image.Transpose.ROTATE_270) if is_turned else opened
            by_array = model.predict(np.asarray(upright))
        by_path = model.predict(str(path))
        for other in (by_pillow, by_array):
            assert other.mask.shape == by_path.mask.shape
            assert (other.mask == by_path.mask).mean() > 0.98  # JPEG decoders differ a little
    for array in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(SettingsError, match="is no picture"):
            model.predict(array)


def test_confidence_is_the_softmax_at_the_pixel(photos: Path) -> None:
    """Against a plain bilinear resize of the logits by PyTorch, where the grid lies half-pixel."""
    import torch

    from maskmill.pipeline.labelling.pixel_confidence import pixel_confidence
    from maskmill.pipeline.views.geometry import onto_grid, resized

    logits = torch.randn(1, 7, 9, 12, generator=torch.Generator().manual_seed(1)) * 4
    size = (54, 96)
    wanted = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    rows, cols = (
        onto_grid(resized(pixels, pixels), pixels, points, "half_pixel")
        for pixels, points in zip(size, (9, 12), strict=True)
    )
    found = pixel_confidence(logits[0].numpy(), rows, cols, size)
    assert np.abs(found - wanted.softmax(1).max(1).values[0].numpy()).max() < 1e-5


def test_settings_are_the_options_of_the_commands() -> None:
    given_by_name = {"from_format", "to_format"}
    for command, names in (
        (prelabel_command, PrelabelKeywords),
        (convert_command, ConvertKeywords),
        (audit_masks, AuditKeywords),
    ):
        own = {"predictions", "truth", "out", *given_by_name}
        assert set(names.__annotations__) == set(names_of(command)) - own, command.name


def test_settings_are_checked_as_the_commands_check_them(tmp_path: Path) -> None:
    for wrong, said in (
        ({"scales": [9]}, "scales lie between"),
        ({"image_size": 200.5}, "--image-size.*200.5.*not a valid integer"),
        ({"image_size": 7}, "33<=x<=4097"),
        ({"precision": "int8"}, "'int8' is not one of"),
        ({"writers": ["masks", "paintings"]}, "paintings; there are: masks"),
        ({"model": "resnet"}, "no model 'resnet'"),
        ({"engine": "local", "address": "auto"}, "names a cluster"),
    ):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        with pytest.raises(SettingsError, match=said):
            maskmill.prelabel(tmp_path, tmp_path / "out", **{"untrained": True, **wrong})
    with pytest.raises(TypeError, match="no setting modle; there are: accelerator_type, address"):
        maskmill.prelabel(tmp_path, tmp_path / "out", modle="x")
    with pytest.raises(TypeError, match="no setting batch_size"):
        maskmill.load_model(batch_size=3)
    with pytest.raises(SettingsError, match="'cocoa' is not one of"):
        maskmill.convert(tmp_path, tmp_path / "out", "masks", "cocoa")
    assert checked(prelabel_command, {"scales": [1, 0.5], "weights": None, "max_pixels": 2}) == {
        "scales": (0.5, 1.0),
        "max_pixels": 2_000_000,
    }


def test_what_is_public_is_lazy_and_has_a_docstring() -> None:
    assert set(maskmill.__all__) <= set(dir(maskmill))
    for name in maskmill.__all__:
        assert inspect.getdoc(getattr(maskmill, name)), name
    with pytest.raises(AttributeError, match="no attribute 'prelable'"):
        _ = maskmill.prelable


def test_the_examples_of_the_manual_run(
    photos: Path, default_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_small_pictures(tmp_path / "photos", 3, seed=5)
    Image.new("RGB", (50, 40), (90, 120, 40)).save("photos/one.jpg")
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if "maskmill.audit(" in example:  # the truth: what the model said
            (tmp_path / "truth").symlink_to(tmp_path / "labels" / "masks")
        exec(example, names)
    said = capsys.readouterr().out
    assert "4 labelled, 0 failed" in said
    assert "4 samples, lossless: True" in said
    assert re.search(r"mIoU .*1\.0", said)


LEFT_ALONE = """
import json, logging, os, signal, sys, warnings
import torch
import maskmill.commands, maskmill.model

engine, source, out, own_ray = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "own"
if engine == "ray":
    import ray.data

def state():
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32),
        "signals": [str(signal.getsignal(n)) for n in (1, 2, 15)],
        "environment": dict(os.environ),
        "path": list(sys.path),
        "folder": os.getcwd(),
        "warnings": [str(one) for one in warnings.filters],
        "levels": {n: logging.getLogger(n).level for n in ("", "ray", "ray.data")},
        "streams": (id(sys.stdout), id(sys.stderr), os.readlink("/proc/self/fd/2")),
        "ray": "ray" in sys.modules and sys.modules["ray"].is_initialized(),
    }

torch.set_num_threads(2)
if own_ray:
    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
before = state()
options = dict(model="deeplabv3_mobilenet_v3_large", untrained=True, image_size=65, engine=engine)
run = maskmill.prelabel(source, out, **options)
maskmill.load_model(options["model"], untrained=True).predict(run.image(run.rows["key"][0].as_py()))
assert run.ledger.ok == 2, run.ledger
after = state()
changed = [name for name in before if before[name] != after[name]]
print(json.dumps({name: [before[name], after[name]] for name in changed}))
if own_ray:
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
"""


def left_alone(tmp_path: Path, engine: str, ray: str) -> dict[str, object]:
    """What a call from Python has changed in its process."""
    write_small_pictures(tmp_path / "photos", 2, seed=5)
    words = [engine, str(tmp_path / "photos"), str(tmp_path / "out"), ray]
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"} if ray == "none" else None
    done = subprocess.run(
        [sys.executable, "-c", LEFT_ALONE, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    changed: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return changed


def test_a_call_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    assert left_alone(tmp_path, "local", "none") == {}


@pytest.mark.slow
def test_a_call_by_ray_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    assert left_alone(tmp_path, "ray", "none") == {}


@pytest.mark.slow
def test_a_caller_keeps_its_own_ray(tmp_path: Path) -> None:
    assert left_alone(tmp_path, "ray", "own") == {}


@pytest.mark.thorough
def test_type_checkers_see_real_signatures(tmp_path: Path) -> None:
    """As a user of ``mypy --strict`` has it: the package as installed, a program beside it."""
    package = tmp_path / "stubs" / "maskmill"
    package.mkdir(parents=True)
    for path in (ROOT / "maskmill").iterdir():
        (package / path.name).symlink_to(path)
    for name in ("schemas", "pipeline", "jobs"):
        (package / name).symlink_to(ROOT / name)
    program = tmp_path / "program.py"
    program.write_text(
        "import maskmill\n"
        "reveal_type(maskmill.open_run('x').mask('a'))\n"
        "reveal_type(maskmill.prelabel('a', 'b', scales=[1.0], engine='local').rows)\n"
        "maskmill.prelabel('a', 'b', modle='x')\n"
        "maskmill.prelabel('a', 'b', engine='cloud')\n"
        "maskmill.load_model(flip=3)\n"
        "maskmill.prelable('a', 'b')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent",
         "--ignore-missing-imports", "--cache-dir", str(tmp_path / "cache"), str(program)],
        env={**os.environ, "MYPYPATH": str(tmp_path / "stubs")},
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    lines = [line.partition("program.py:")[2] for line in done.stdout.splitlines()]
    faults = [line for line in lines if "error:" in line]
    assert [int(line.split(":")[0]) for line in faults] == [4, 5, 6, 7], done.stdout
    assert "Unexpected keyword argument" in faults[0]
    assert "ndarray" in lines[0]
