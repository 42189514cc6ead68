"""Files as training loops save them: what stands beside the weights is read over, and never run."""

import argparse
import collections
import datetime
import enum
import functools
import json
import pathlib
import pickle
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from maskmill.pipeline.models.weights.beside import told_beside
from maskmill.pipeline.models.weights.inert_pickle import Inert, plain
from maskmill.pipeline.models.weights.state import load_document, load_state
from maskmill.pipeline.models.weights.torch_file import read_torch
from maskmill.schemas.errors import ModelError, WeightsRefused

MMENGINE = pathlib.Path(__file__).parents[3] / "golden" / "checkpoints" / "mmengine-epoch_3.pth"


class Phase(enum.Enum):
    TRAIN = "train"


class Settings:
    """A class of the user's own, which is not here when the file is read."""

    def __init__(self):
        self.rates = [6, 12]


class Harm:
    """Rebuilding it would make a file."""

    def __init__(self, path, call):
        self.path, self.call = path, call

    def __reduce__(self):
        return self.call, (self.path,)


def weights():
    return {"conv.weight": torch.arange(24.0).view(2, 3, 2, 2), "conv.bias": torch.ones(2).half()}


def extras():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "best": np.float64(0.7),
        "array": np.arange(3),
        "args": argparse.Namespace(output_stride=8, backbone="resnet50", out=pathlib.Path("a/b")),
        "when": datetime.datetime(2026, 1, 2),
        "phase": Phase.TRAIN,
        "history": collections.defaultdict(list, {"miou": [0.1]}),
        "counter": collections.Counter("aab"),
        "deque": collections.deque([1.0]),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict(),
        "own": Settings(),
        "partial": functools.partial(Settings),
        "loss": nn.CrossEntropyLoss(),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "generator": torch.get_rng_state(),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_what_stands_beside_weights_is_read_over(tmp_path, monkeypatch, zipped):
    path = tmp_path / "last.pth"
    torch.save({"state_dict": weights(), **extras()}, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delattr(sys.modules[__name__], "Settings")  # reading must not look for it
    document = load_document(path)
    assert document.state.keys() == weights().keys()
    assert all(torch.equal(document.state[key], value) for key, value in weights().items())
    told = told_beside(document.beside)
    assert (told.output_stride, told.encoder, told.source) == (8, "resnet50", "args")


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_read_as_torch_reads_them(tmp_path, zipped):
    base = torch.randn(4, 6)
    state = {
        "view": base[1:3, ::2], "transposed": base.t(), "scalar": torch.tensor(3),
        "empty": torch.empty(0, 4), "double": base.double(), "bf16": base.bfloat16(),
        "bool": base > 0, "parameter": nn.Parameter(base), "bytes": (base * 9).to(torch.int8),
    }  # fmt: skip
    path = tmp_path / "w.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    expected = torch.load(path, weights_only=True)
    found = read_torch(path).content
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)
    outline = read_torch(path, outline=True).content
    assert all(value.is_meta for value in outline.values())
    assert {k: v.shape for k, v in outline.items()} == {k: v.shape for k, v in expected.items()}


def test_mmengines_history_of_its_own_making_loads():
    """It holds numpy arrays and methods of its class, which are looked up by getattr."""
    document = read_torch(MMENGINE)
    assert "builtins.getattr" not in document.asked
    assert any(name.startswith("mmengine.logging") for name in document.asked)
    assert load_state(MMENGINE).keys() == {"conv.weight", "conv.bias"}
    assert load_document(MMENGINE).beside["meta"]["epoch"] == 3


@pytest.mark.parametrize(
    "wrapper",
    ["model", "state_dict", "model_state", "params", "student", "network", "weights", "ema",
     "state_dict_ema", "module_ema"],
)  # fmt: skip
def test_wrappers(tmp_path, wrapper):
    torch.save({wrapper: weights(), "epoch": 3}, tmp_path / "w.pth")
    document = load_document(tmp_path / "w.pth")
    assert document.state.keys() == weights().keys()
    assert bool(document.notes) == ("ema" in wrapper)  # an averaged copy is named


def test_trained_weights_come_before_averaged_ones_and_it_is_said(tmp_path):
    averaged = {key: value + 1 for key, value in weights().items()}
    torch.save({"ema": averaged, "model": weights()}, tmp_path / "w.pth")
    document = load_document(tmp_path / "w.pth")
    assert torch.equal(document.state["conv.weight"], weights()["conv.weight"])
    assert document.notes == (
        f"{tmp_path / 'w.pth'} holds weights under model, ema: model are used",
    )


def test_lightning_keeps_losses_and_statistics_beside_its_model(tmp_path):
    state = {f"model.{key}": value for key, value in weights().items()}
    state |= {"mean": torch.zeros(1, 3, 1, 1), "std": torch.ones(1, 3, 1, 1),
              "loss_fn.weight": torch.ones(5)}  # fmt: skip
    parameters = {
        "encoder_name": "resnet34",
        "encoder_output_stride": 8,
        "decoder_atrous_rates": [3, 6, 9],
    }
    torch.save({"state_dict": state, "hyper_parameters": parameters}, tmp_path / "last.ckpt")
    document = load_document(tmp_path / "last.ckpt")
    assert document.state.keys() == weights().keys()
    told = told_beside(document.beside)
    assert (told.encoder, told.output_stride, told.rates) == ("resnet34", 8, (3, 6, 9))


def test_a_configuration_is_read_and_never_run(tmp_path):
    harm = tmp_path / "harm"
    text = (
        f"import pathlib; pathlib.Path({str(harm)!r}).touch()\n"
        "model = dict(backbone=dict(strides=(1, 2, 2, 1), multi_grid=(1, 2, 4)),\n"
        "  decode_head=dict(dilations=(1, 6, 12, 18), align_corners=True, x=print('run')))\n"
    )
    meta = {"cfg": text, "dataset_meta": {"classes": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]]}}
    told = told_beside({"meta": meta})
    assert (told.output_stride, told.rates, told.last_rates) == (16, (6, 12, 18), (1, 2, 4))
    assert told.align_corners is True
    assert (told.class_names, told.palette) == (("a", "b"), ((1, 2, 3), (4, 5, 6)))
    assert not harm.exists()
    assert told_beside({"meta": {"cfg": "model = dict("}}).rates is None


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "call", [pathlib.Path.touch, __import__("os").mkdir, eval, __import__("os").system]
)
def test_harm_is_refused_with_its_name_and_does_not_happen(tmp_path, protocol, call):
    harm = tmp_path / "harm"
    path = tmp_path / "w.pth"
    argument = harm if call is pathlib.Path.touch else str(harm)
    torch.save({"model": weights(), "x": Harm(argument, call)}, path, pickle_protocol=protocol or 1)
    with pytest.raises(WeightsRefused, match=r"nothing of it was run.*asks for"):
        load_state(path)
    assert not harm.exists()


def test_an_unknown_call_is_kept_and_not_made(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": weights(), "x": Harm("a", Settings)}, path)
    document = read_torch(path)
    kept = document.content["x"]
    assert isinstance(kept, Inert) and kept.name.endswith("Settings")
    assert document.asked == (kept.name,)
    assert plain(kept) == "a"


def test_files_of_other_kinds_are_named_with_the_remedy(tmp_path):
    kinds = {
        "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        "page.pth": (b"<!DOCTYPE html><html>", "web page"),
        "keras.h5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5"),
        "model.onnx": (b"\x08\x08\x12\x07pytorch", "ONNX"),
        "graph.pb": (b"\x0a\x10\x0a\x05", "frozen graph.*models import"),
        "model.ckpt-9.index": (b"\0" * 99, "TensorFlow checkpoint"),
        "w.tar.gz": (b"\x1f\x8b\x08" + b"\0" * 9, "archive: unpack"),
        "none.pth": (b"", "empty"),
        "cut.pth": (b"PK\x03\x04" + b"\0" * 200, "cut short"),
    }
    for name, (content, said) in kinds.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=rf"{name}.*{said}"):
            load_state(tmp_path / name)
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelError, match=r"SavedModel.*freeze"):
        load_state(saved)


def test_torchscript_is_refused_by_name(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "m.pt"))
    with pytest.raises(WeightsRefused, match=r"TorchScript.*torch.jit.load"):
        load_state(tmp_path / "m.pt")


def test_safetensors_under_another_name_are_read(tmp_path):
    save_file({"conv.weight": torch.ones(2, 3, 2, 2)}, tmp_path / "w.pth")
    assert load_state(tmp_path / "w.pth").keys() == {"conv.weight"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_of_a_training_that_broke_down_are_refused(tmp_path, bad):
    state = weights()
    state["conv.bias"][1] = bad
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"NaN or infinite.*conv\.bias.*earlier checkpoint"):
        load_state(tmp_path / "w.pth")


def test_without_weights_the_keys_are_listed(tmp_path):
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"no state dict.*its keys are epoch, optimizer"):
        load_state(tmp_path / "w.pth")


def test_a_hugging_face_folder_tells_its_classes(tmp_path):
    config = {"output_stride": 8, "id2label": {"0": "sky", "1": "road"}, "tf_padding": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = told_beside({}, tmp_path / "model.safetensors")
    assert (told.class_names, told.output_stride, told.tf_padding) == (("sky", "road"), 8, True)
    assert told_beside({}, tmp_path / "other.pth").class_names == ()


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("zipped", [True, False])
def test_cut_files_are_named_wherever_they_end(tmp_path, cut, zipped):
    path = tmp_path / "w.pth"
    torch.save({"model": weights()}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(ModelError, match=r"w\.pth"):
        load_state(path)


def test_random_bytes_after_a_pickles_first_never_raise_anything_else(tmp_path):
    random = np.random.default_rng(3)
    good = pickle.dumps({"model": [1, 2, {"a": 3}]}, 2)
    for turn in range(200):
        content = bytearray(good)
        for place in random.integers(2, len(content), 3):
            content[place] = random.integers(256)
        (tmp_path / "w.pth").write_bytes(bytes(content))
        with pytest.raises(ModelError):
            load_state(tmp_path / "w.pth")
        assert turn < 200


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_a_plain_pickle_are_weights(tmp_path, protocol):
    """As detectron2's model zoo has them; a file cut within an array is refused."""
    arrays = {key: value.numpy() for key, value in weights().items()}
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "x"}, protocol=protocol))
    state = load_document(path).state
    assert state.keys() == weights().keys()
    assert all(torch.equal(state[key], torch.from_numpy(arrays[key])) for key in arrays)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="damaged or cut short"):
        load_document(path)
