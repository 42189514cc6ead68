"""What runs on a GPU, told without one: no tensor elsewhere, the right dtype, so many launches."""

import numpy as np
import pytest
import torch
from torch import nn

from maskmill.pipeline.models.precision import DTYPES
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import Segmenter, load_network
from maskmill.pipeline.models.torch_settings import exact_settings
from maskmill.pipeline.views.preparation import prepare
from maskmill.schemas.errors import DeviceLost
from tests.pipeline.models.fake_cuda import CONVOLUTION, FakeGpu, Launches, fake_cuda

DEFAULT = "deeplabv3_mobilenetv2_x05_voc"
RESNET = "deeplabv3_resnet50"
TIMM = "deeplabv3plus_mobilenetv2"
ADE20K = "deeplabv3plus_mobilenetv2_ade20k"
GROUP = 4
BUDGETS = {  # launches of a group, whatever its size, and of each picture in it
    (DEFAULT, "fp32"): (122, 0),
    (DEFAULT, "fp16"): (124, 0),
    (DEFAULT, "bf16"): (124, 0),
    (RESNET, "fp32"): (143, 0),  # of 61 convolutions; each would have a batch norm behind it
    (RESNET, "bf16"): (145, 0),
    (TIMM, "bf16"): (147, 0),
    (ADE20K, "fp32"): (18, 502),  # on int8 grids it looks at one picture at a time
}
SPARED = {DEFAULT: 10, RESNET: 1, TIMM: 1}
"""Convolutions in float32 all the same: the classifier; of the default stem and fine blocks too."""


def segmenter(name: str, precision: str) -> Segmenter:
    return Segmenter(
        MODELS[name],
        None,
        device="cuda",
        precision=precision,
        group_size=GROUP,
        untrained=True,
    )


def launches(one: Segmenter, group_size: int = GROUP) -> Launches:
    """Those of a full group of equal pictures."""
    one.group_size = one.fitting_group = group_size
    noise = np.zeros((60, 80, 3), np.uint8)
    picture = prepare(noise, one.spec.preprocessing, image_size=129)
    with Launches() as found:
        answers = one.forward([picture] * group_size)
    assert [answer.logits.dtype for answer in answers] == [np.float32] * group_size
    return found


def over_budget(one: Segmenter, name: str, precision: str) -> list[str]:
    """What a group costs beyond its budget, and what it computes in another dtype than told."""
    few, many = launches(one), launches(one, 2 * GROUP)
    per_group, per_picture = BUDGETS[name, precision]
    spared = SPARED[name] if precision != "fp32" else 0
    dtypes = few.convolution_dtypes.copy()
    dtypes[torch.float32] -= spared
    faults = []
    if few.total > per_group + GROUP * per_picture:
        faults.append(f"{few.total} launches for {GROUP} pictures")
    if many.total - few.total > GROUP * per_picture:
        faults.append(f"{many.total - few.total} launches for {GROUP} pictures more")
    if +dtypes != {DTYPES[precision]: dtypes[DTYPES[precision]]} or dtypes[torch.float32] < 0:
        faults.append(f"convolutions in {dict(few.convolution_dtypes)}")
    if len(few.sent) > 2 or few.sent[0][0] != torch.uint8:
        faults.append(f"sent to the device: {few.sent}")
    if len(few.copied_back) != 1:
        faults.append(f"{len(few.copied_back)} copies to the host")
    return faults


@pytest.mark.parametrize(("name", "precision"), BUDGETS)
def test_a_group_keeps_to_its_device_its_dtype_and_its_launches(name, precision):
    with fake_cuda():
        one = segmenter(name, precision)
        assert over_budget(one, name, precision) == []
        weights = [*one.network.parameters(), *one.network.buffers()]
        assert {weight.device.type for weight in weights} == {"cuda"}


def test_a_group_never_costs_less_than_its_convolutions():
    """Else nothing was counted, and any budget would be kept."""
    with fake_cuda():
        one = segmenter(DEFAULT, "fp32")
        convolutions = sum(isinstance(part, nn.Conv2d) for part in one.network.modules())
        assert launches(one).by_name[CONVOLUTION] >= convolutions > 50


class Planted(nn.Module):
    """A network with a fault around it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class TensorOnTheHost(Planted):
    def forward(self, pixels):
        return self.network(pixels) + torch.ones(21, 1, 1)


class LoopOverPictures(Planted):
    def forward(self, pixels):
        return torch.cat([self.network(picture[None]) for picture in pixels])


class LookAtTheAnswer(Planted):
    def forward(self, pixels):
        logits = self.network(pixels)
        logits.amax((1, 2, 3)).cpu()  # the GPU stands still for it
        return logits


class HalfThroughout(Planted):
    def forward(self, pixels):
        with torch.autocast("cuda", torch.float16):
            return self.network(pixels)


def batch_norms_of_their_own(_: nn.Module) -> nn.Module:
    return load_network(MODELS[RESNET], None, untrained=True).to("cuda")


def converted_in_every_call(_: nn.Module) -> nn.Module:
    return HalfThroughout(batch_norms_of_their_own(_))


@pytest.mark.parametrize(
    ("planted", "name", "precision", "said"),
    [
        (LoopOverPictures, DEFAULT, "fp16", "launches for 4 pictures more"),
        (batch_norms_of_their_own, RESNET, "fp32", "203 launches for 4 pictures"),
        (batch_norms_of_their_own, RESNET, "bf16", "convolutions in {torch.float32"),
        (converted_in_every_call, RESNET, "bf16", "267 launches for 4 pictures"),
        (HalfThroughout, DEFAULT, "fp16", "convolutions in {torch.float16: 5"),
        (LookAtTheAnswer, DEFAULT, "fp16", "2 copies to the host"),
    ],
)
def test_a_planted_fault_is_found(planted, name, precision, said):
    with fake_cuda():
        one = segmenter(name, precision)
        one.network = planted(one.network)
        assert said in " and ".join(over_budget(one, name, precision))


def test_a_block_of_many_groups_waits_for_the_gpu_once():
    """All is launched before anything is waited for; each group is one upload from pinned memory,
    its places beside it, and one copy back into pinned memory.
    """
    with fake_cuda() as gpu:
        one = segmenter(DEFAULT, "fp16")
        picture = prepare(np.zeros((60, 80, 3), np.uint8), one.spec.preprocessing, image_size=129)
        one.forward([picture] * (5 * GROUP - 1))
        assert (gpu.synchronisations, gpu.pinned) == (1, 5 * 3)


def test_a_fault_that_shows_only_when_waited_for_is_a_lost_gpu():
    with fake_cuda() as gpu:
        one = segmenter(DEFAULT, "fp16")
        gpu.lost = True
        with pytest.raises(DeviceLost, match="illegal memory access"):
            launches(one)


def test_a_tensor_left_on_the_host_is_found():
    with fake_cuda():
        one = segmenter(DEFAULT, "fp16")
        one.network = TensorOnTheHost(one.network)
        with pytest.raises(RuntimeError, match="two devices, cuda:0 and cpu"):
            launches(one)


def test_memory_errors_of_a_gpu_halve_the_group_on_it_too():
    class Small(Planted):
        def forward(self, pixels):
            if len(pixels) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.network(pixels)

    with fake_cuda():
        one = segmenter(DEFAULT, "fp16")
        one.network = Small(one.network)
        noise = np.zeros((60, 80, 3), np.uint8)
        picture = prepare(noise, one.spec.preprocessing, image_size=129)
        assert all(answer.halved for answer in one.forward([picture] * GROUP))


@pytest.mark.parametrize("lost", [True, False])
def test_a_gpu_that_answers_no_more_is_told_from_an_error_that_passes(lost):
    class Failing(Planted):
        def forward(self, pixels):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\n…")

    with fake_cuda(FakeGpu(lost=lost)):
        one = segmenter(DEFAULT, "fp16")
        one.network = Failing(one.network)
        expected = DeviceLost if lost else torch.AcceleratorError
        with pytest.raises(expected, match="illegal memory access was encountered"):
            launches(one)


def test_fp32_means_fp32_and_sums_are_made_in_one_order():
    with fake_cuda():
        cudnn = torch.backends.cudnn
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = True, False, True
        torch.backends.cuda.matmul.allow_tf32 = True
        segmenter(DEFAULT, "fp32")
        assert (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (False, True, False)
        assert not torch.backends.cuda.matmul.allow_tf32


def test_a_process_that_is_somebody_elses_gets_its_switches_back():
    with fake_cuda():
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

        def switches() -> tuple[bool, ...]:
            return cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32

        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = True, False, True
        matmul.allow_tf32 = True
        with exact_settings():
            assert switches() == (False, True, False, False)
        assert switches() == (True, False, True, True)
