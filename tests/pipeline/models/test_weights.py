"""Weights files: what loads, what is explained, and what is refused without being run."""

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from maskmill.pipeline.models.weights.cache import weights_sha256
from maskmill.pipeline.models.weights.state import (
    classes_in_state,
    classifier_name,
    fill_network,
    load_state,
    read_graph,
)
from maskmill.pipeline.models.weights.unwrapping import unwrap_document
from maskmill.schemas.errors import ModelError, WeightsRefused


class Marker:
    """Unpickling it creates a file: the harm a malicious file could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def network() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(stem=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), classifier=nn.Conv2d(4, 5, 1))
    )


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_malicious_pickle_is_refused_and_not_run(tmp_path, protocol):
    harm, file = tmp_path / "harm", tmp_path / "weights.pt"
    file.write_bytes(pickle.dumps({"model": Marker(harm)}, protocol))
    with pytest.raises(ModelError):
        load_state(file)
    assert not harm.exists()
    pickle.loads(file.read_bytes())
    assert harm.exists()  # the file would have done it


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_torch_file_is_refused_and_not_run(tmp_path, zipped):
    harm, file = tmp_path / "harm", tmp_path / "weights.pth"
    torch.save(
        {"state_dict": network().state_dict(), "hook": Marker(harm)},
        file,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(WeightsRefused, match="nothing of it was run") as refused:
        load_state(file)
    assert "it asks for" in str(refused.value) and "weights_only" not in str(refused.value)
    assert not harm.exists()


def test_whole_pickled_module_is_refused_with_a_remedy(tmp_path):
    torch.save(network(), tmp_path / "model.pt")
    with pytest.raises(WeightsRefused, match=r"asks for torch\.nn\..*Save model\.state_dict"):
        load_state(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},  # torchvision's reference training
        lambda state: {"state_dict": state, "best": 0.7},
        lambda state: {"model_state": state},  # VainF's checkpoints
        lambda state: {f"module.{name}": value for name, value in state.items()},  # DataParallel
        lambda state: {"model": {f"_orig_mod.{n}": v for n, v in state.items()}},  # torch.compile
        lambda state: {"checkpoint": 1, "model": {"state_dict": state}},
        lambda state: {"best_score": torch.tensor(0.7), "model_state": state},
        lambda state: {"model": {f"_orig_mod.module.{n}": v for n, v in state.items()}},
    ],
)
def test_wrappers_and_prefixes_come_off(tmp_path, wrap):
    state = network().state_dict()
    torch.save(wrap(state), tmp_path / "weights.pth")
    found = load_state(tmp_path / "weights.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_safetensors(tmp_path):
    state = network().state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    fresh = network()
    fill_network(fresh, load_state(tmp_path / "weights.safetensors"))
    assert torch.equal(fresh.stem.weight, state["stem.weight"])


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.tflite", "w.json"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x00" * 64, b"PK\x03\x04junk"])
def test_broken_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        load_state(tmp_path / name)


def test_truncated_torch_file(tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"w\.pth"):
        load_state(tmp_path / "w.pth")


def test_missing_file_and_no_tensors(tmp_path):
    with pytest.raises(ModelError, match="no weights file"):
        load_state(tmp_path / "absent.pth")
    torch.save({"epoch": 1, "lr": 0.1}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="no state dict"):
        load_state(tmp_path / "w.pth")
    with pytest.raises(ModelError, match="neither"):
        read_graph(tmp_path / "w.pth")


def test_misfit_says_what_differs():
    state = network().state_dict()
    del state["stem.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["classifier.weight"] = torch.zeros(7, 4, 1, 1)
    with pytest.raises(ModelError) as caught:
        fill_network(network(), state, "my.pth")
    said = str(caught.value)
    assert "my.pth does not fit" in said
    assert "1 missing: stem.bias" in said
    assert "1 unexpected: extra.weight" in said
    assert "classifier.weight is (7, 4, 1, 1), expected (5, 4, 1, 1)" in said


def test_long_misfits_are_cut_short():
    with pytest.raises(ModelError) as caught:
        fill_network(network(), {f"layer{n}.weight": torch.zeros(1) for n in range(500)})
    assert "500 unexpected" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_auxiliary_heads_are_left_out_and_counters_may_lack():
    state = network().state_dict()
    state["aux_classifier.0.weight"] = torch.zeros(3)
    del state["norm.num_batches_tracked"]
    fresh = network()
    fresh.norm.num_batches_tracked += 5
    notes = fill_network(fresh, state)
    assert notes == ("left out aux_classifier: it serves training only",)
    assert torch.equal(fresh.classifier.weight, state["classifier.weight"])
    assert fresh.norm.num_batches_tracked == 0
    assert fill_network(fresh, network().state_dict()) == ()


def test_class_count_is_read_from_the_file():
    last = classifier_name(network())
    assert last == "classifier"
    assert classes_in_state(network().state_dict(), last) == 5
    assert classes_in_state({}, last) is None


def test_digest(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    digest = weights_sha256(tmp_path / "abc")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_unwrapping_stops_at_the_state():
    state = {"model": torch.zeros(1), "state_dict": torch.zeros(2)}
    assert unwrap_document(state).state.keys() == state.keys()
