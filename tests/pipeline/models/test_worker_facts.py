"""What a worker says of its device: a GPU that cannot be used is refused, never left idle."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.worker_facts import WorkerFacts, describe_worker
from maskmill.pipeline.prelabel.predict import WorkerSettings
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import SettingsError

SPEC = MODELS["deeplabv3_mobilenet_v3_large"]


def asked(device: str | None) -> WorkerFacts | Exception:
    return describe_worker(SPEC, None, device=device, precision="fp32", untrained=True)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that can be asked, and no more."""
    properties = SimpleNamespace(name="Some GPU", multi_processor_count=7)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91000)


def test_cores_are_asked_for_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("not asked for"))
    facts = asked("cpu")
    assert (facts.device, facts.gpu, facts.num_classes) == ("cpu", None, 21)


def test_a_gpu_that_pytorch_cannot_use_is_refused_with_node_and_reason(monkeypatch):
    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old.\nPlease update")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", too_old)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    refusal = asked(None)
    assert isinstance(refusal, SettingsError)
    assert "your system is too old; mend that, or label on the cores" in str(refusal)
    assert ":" in str(refusal).split()[0]  # host and process
    assert "this run began on a GPU" in str(asked("cuda"))
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built without CUDA" in str(asked(None))


def test_a_gpu_names_itself_and_its_libraries(gpu):
    assert asked(None).device == "cuda"
    assert asked("cuda").gpu == "Some GPU, 7 multiprocessors, CUDA 13.0, cuDNN 91000"


def test_a_worker_with_another_gpu_is_refused(gpu, tmp_path):
    settings = WorkerSettings(
        spec=SPEC, weights_path=None, weights_sha256="", device="cpu", precision="fp32",
        threads=1, group_size=1, untrained=True, gpu=asked("cuda").gpu,
    )  # fmt: skip
    layout = RunLayout(str(tmp_path))
    assert settings.load(layout).group_size == 1
    with pytest.raises(SettingsError, match="has another GPU than this run began with: Some GPU"):
        replace(settings, gpu="Another GPU").load(layout)
