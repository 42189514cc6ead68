"""What a worker says of its device: a GPU that cannot be used is refused, never left idle."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.torch_settings import keep_to_share_of_gpu
from maskmill.pipeline.models.worker_facts import WorkerFacts, agreed_facts, describe_worker
from maskmill.pipeline.prelabel.predict import WorkerSettings
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.views.plan import ViewSettings
from maskmill.schemas.errors import SettingsError
from tests.pipeline.models.fake_cuda import FakeGpu, fake_cuda

SPEC = MODELS["deeplabv3_mobilenet_v3_large"]


def asked(device: str | None) -> WorkerFacts | Exception:
    return describe_worker(limited(1), None, device=device, precision="fp32", untrained=True)


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    """A GPU that answers, and computes nothing."""
    with fake_cuda() as one:
        yield one


def limited(limit: int, failure: str = "memory") -> ModelSpec:
    """A model whose network fails beyond so many pictures at once."""
    builder = "tests.pipeline.models.limited_network:build"
    return replace(SPEC, builder=builder, options=(("limit", limit), ("failure", failure)))


def tried(spec: ModelSpec, group_size: int = 8, **settings: object) -> WorkerFacts | Exception:
    values = {"device": None, "precision": "fp32", "untrained": True, **settings}
    return describe_worker(spec, None, group_size=group_size, **values)


def test_cores_are_asked_for_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("not asked for"))
    facts = asked("cpu")
    assert (facts.device, facts.gpu, facts.num_classes) == ("cpu", None, 21)
    assert facts.fitting_group is None


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


@pytest.mark.parametrize(("limit", "fits"), [(8, 8), (7, 4), (3, 2), (1, 1)])
def test_the_group_that_memory_holds_is_learnt_by_running_one(gpu, limit, fits):
    facts = tried(limited(limit))
    assert (facts.device, facts.fitting_group, facts.driver) == ("cuda", fits, "13.2")


def test_a_gpu_that_holds_no_picture_at_all_is_refused_before_the_run(gpu):
    refusal = tried(limited(0), image_size=321)
    assert isinstance(refusal, SettingsError)
    assert "does not hold one network input of 428x321" in str(refusal)


def test_the_trial_is_of_the_largest_view(gpu):
    refusal = tried(limited(0), image_size=321, views=ViewSettings(scales=(0.5, 1.5)))
    assert "of 642x482" in str(refusal)


def test_a_gpu_without_bf16_is_refused_before_the_run(gpu):
    assert tried(limited(8), precision="bf16").precision == "bf16"
    gpu.bf16 = False
    refusal = tried(limited(8), precision="bf16")
    assert isinstance(refusal, SettingsError) and "has no bf16: use" in str(refusal)


@pytest.mark.parametrize(
    ("failure", "lost", "said"),
    [("kernels", False, "no kernel image is available"), ("address", True, "illegal memory")],
)
def test_a_gpu_that_cannot_run_the_network_is_refused_with_node_and_reason(failure, lost, said):
    with fake_cuda(FakeGpu(lost=lost)):
        refusal = tried(limited(0, failure))
    assert isinstance(refusal, SettingsError)
    assert "cannot run the network on its GPU, Some GPU, 7" in str(refusal)
    assert said in str(refusal) and "CUDA kernel errors" not in str(refusal)


def test_graphs_are_for_workers_whose_replays_say_the_same(gpu):
    facts = tried(limited(8))
    assert (facts.graphs, facts.notes, gpu.recorded) == (True, (), 1)
    gpu.same_bits = False
    other = tried(limited(8))
    assert (other.graphs, other.fitting_group) == (False, 8)
    assert other.notes == ("no CUDA graphs: a replay said something else than the network itself",)
    gpu.graph_failure = torch.OutOfMemoryError("CUDA out of memory")
    assert tried(limited(8)).notes == ("no CUDA graphs: CUDA out of memory",)
    agreed = agreed_facts([facts, other, other])
    assert (agreed.graphs, agreed.notes) == (False, other.notes)
    assert agreed_facts([facts, facts]).graphs


def test_a_gpu_that_the_recording_costs_the_facts_is_used_without_graphs():
    failure = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with fake_cuda(FakeGpu(graph_failure=failure, graphs_lose_it=True)):
        facts = tried(limited(8))
    assert (facts.graphs, facts.fitting_group) == (False, 8)
    assert "no CUDA graphs: the GPU is lost to this process" in facts.notes[0]


def test_what_all_workers_said_is_one_kind_and_the_smallest_memory(gpu):
    one = tried(limited(8))
    small = replace(one, fitting_group=2, driver="12.8", worker="there:1")
    assert agreed_facts([one, small, one]) == replace(one, fitting_group=2, driver="12.8, 13.2")
    with pytest.raises(SettingsError, match=r"on there:1; .* --accelerator-type"):
        agreed_facts([one, replace(small, gpu="Another GPU")])
    with pytest.raises(SettingsError, match=r"2\.11\.0 on there:1"):
        agreed_facts([one, replace(small, torch_version="2.11.0")])
    with pytest.raises(SettingsError, match="refused there"):
        agreed_facts([one, SettingsError("refused there")])


def test_a_process_keeps_to_its_share_of_the_memory(gpu):
    keep_to_share_of_gpu(0.5)
    assert gpu.share == pytest.approx(0.45)
