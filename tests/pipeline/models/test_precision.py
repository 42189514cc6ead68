"""`auto` picks what the device does fast and the model does right."""

import pytest
import torch

from maskmill.pipeline.models import precision
from maskmill.pipeline.models.precision import resolve_precision
from maskmill.pipeline.models.spec import BOUNDED
from maskmill.schemas.errors import SettingsError


def gpu_with_bf16(native):
    """PyTorch's answer, which counts emulation unless told not to."""
    return lambda including_emulation=True: native or including_emulation


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_cpu(monkeypatch, native, expected):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: native)
    assert resolve_precision("auto", "cpu") == expected
    assert resolve_precision("auto", "cpu", ("fp32",)) == "fp32"


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_cuda(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", gpu_with_bf16(native))
    assert resolve_precision("auto", "cuda:0") == expected
    assert resolve_precision("auto", "cuda", ("fp32",)) == "fp32"
    assert resolve_precision("auto", "cuda", BOUNDED) == "fp16"


def test_bf16_is_refused_where_a_gpu_would_emulate_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", gpu_with_bf16(True))
    assert resolve_precision("bf16", "cuda") == "bf16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", gpu_with_bf16(False))
    with pytest.raises(SettingsError, match="has no bf16: use --precision fp16 or fp32"):
        resolve_precision("bf16", "cuda")


def test_a_wish_is_kept_or_refused():
    assert resolve_precision("bf16", "cpu") == "bf16"
    assert resolve_precision("fp32", "cpu") == "fp32"
    assert resolve_precision("fp16", "cuda") == "fp16"
    with pytest.raises(SettingsError, match="CUDA"):
        resolve_precision("fp16", "cpu")
    with pytest.raises(SettingsError, match="use --precision fp32 or bf16, or leave it out"):
        resolve_precision("fp16", "cuda", ("fp32", "bf16"))
    with pytest.raises(SettingsError, match="int4"):
        resolve_precision("int4", "cpu")
