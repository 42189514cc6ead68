"""The one forward path: groups, order, memory, precision, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import PictureLogits, Segmenter, load_network
from maskmill.pipeline.views.preparation import prepare
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import (
    ErrorCode,
    ImageFailure,
    ModelError,
    SettingsError,
    WeightsRefused,
)

SPEC = MODELS["deeplabv3_mobilenetv2_x05_voc"]
SIZES = ((40, 90), (90, 40), (64, 64), (33, 97), (90, 41))


def pictures(rule: Preprocessing = SPEC.preprocessing, size: int = 97) -> list:
    rng = np.random.default_rng(1)
    return [
        prepare(rng.integers(0, 256, (*hw, 3), dtype=np.uint8), rule, image_size=size)
        for hw in SIZES
    ]


def segmenter(spec=SPEC, **settings) -> Segmenter:
    return Segmenter(spec, None, **{"untrained": True, "precision": "fp32", **settings})


class Recording(nn.Module):
    """A network that notes the batches it saw and fails beyond a batch size."""

    def __init__(self, inner: nn.Module, largest: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.inner, self.largest, self.seen = inner, largest, []
        self.error = error or torch.OutOfMemoryError("simulated")

    def forward(self, pixels):
        self.seen.append(tuple(pixels.shape))
        if len(pixels) > self.largest:
            raise self.error
        return self.inner(pixels)


def test_results_come_in_order_cropped_to_the_picture():
    answers = segmenter().forward(pictures())
    assert [type(answer) for answer in answers] == [PictureLogits] * len(SIZES)
    for answer, (height, width) in zip(answers, SIZES, strict=True):
        longest = max(height, width)
        expected = [
            int(np.ceil((round(side * 97 / longest) - 1) / 8)) + 1 for side in (height, width)
        ]
        assert answer.logits.shape == (21, *expected)
        assert answer.logits.dtype == np.float32
        assert not answer.halved


def test_cropping_takes_the_top_left_of_the_whole_grid():
    one = segmenter()
    picture = pictures()[0]
    whole = one._logits([picture])[0]
    (answer,) = one.forward([picture])
    height, width = answer.logits.shape[1:]
    assert np.array_equal(answer.logits, whole[:, :height, :width])
    assert whole.shape == (21, 13, 13)


@pytest.mark.parametrize("group_size", [1, 3, 4])
def test_a_result_does_not_depend_on_its_neighbours(group_size):
    one = segmenter(group_size=group_size)
    together = one.forward(pictures())
    for picture, answer in zip(pictures(), together, strict=True):
        (alone,) = one.forward([picture])
        assert np.array_equal(alone.logits, answer.logits)
    backwards = one.forward(pictures()[::-1])[::-1]
    for first, second in zip(together, backwards, strict=True):
        assert np.array_equal(first.logits, second.logits)


def test_groups_have_one_size_and_equal_shapes():
    rule = Preprocessing(resize="shortest_side", size=64)
    one = segmenter(replace(SPEC, preprocessing=rule), group_size=2)
    one.network = recording = Recording(one.network, largest=2)
    answers = one.forward(pictures(rule, size=64))
    assert all(shape[0] == 2 for shape in recording.seen)
    assert len(recording.seen) == len({shape[2:] for shape in recording.seen}) == len(SIZES)
    assert len(answers) == len(SIZES)


def test_memory_exhaustion_halves_the_group_and_says_so():
    one = segmenter(group_size=4)
    plain = segmenter().forward(pictures())
    one.network = recording = Recording(one.network, largest=1)
    answers = one.forward(pictures())
    assert [shape[0] for shape in recording.seen] == [4, 2, 1, 1, 2, 1, 1, 4, 2, 1]
    assert all(answer.halved for answer in answers)
    for answer, expected in zip(answers, plain, strict=True):
        assert np.allclose(answer.logits, expected.logits, atol=1e-4)


def test_a_picture_too_large_alone_fails_alone():
    one = segmenter(group_size=2)
    one.network = Recording(one.network, largest=0)
    answers = one.forward(pictures()[:3])
    assert all(isinstance(answer, ImageFailure) for answer in answers)
    assert answers[0].code is ErrorCode.OUT_OF_MEMORY
    assert "97x97" in str(answers[0])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        MemoryError(),
    ],
)
def test_every_librarys_way_to_say_it_counts_as_memory_exhaustion(error):
    one = segmenter(group_size=2)
    one.network = Recording(one.network, 1, error)
    assert all(answer.halved for answer in one.forward(pictures()))
    one.network = Recording(one.network, 0, error)
    assert {answer.code for answer in one.forward(pictures())} == {ErrorCode.OUT_OF_MEMORY}


def test_an_answer_that_is_not_finite_fails_its_picture_alone():
    one = segmenter(group_size=2)
    network = one.network

    def overflowing(pixels):
        logits = network(pixels)
        logits[0, 3, 2, 1] = math.inf
        return logits

    one.network = overflowing
    first, second = one.forward([pictures()[0]] * 2)
    assert first.code is ErrorCode.NOT_FINITE and "--precision fp32" in str(first)
    assert np.isfinite(second.logits).all()


def test_other_errors_are_bugs_and_stay_loud():
    one = segmenter()

    def fail(_):
        raise RuntimeError("shape mismatch")

    one.network = fail
    with pytest.raises(RuntimeError, match="shape mismatch"):
        one.forward(pictures()[:1])


def test_a_really_unallocatable_picture_is_a_failure_not_a_crash():
    """A network input of petabytes: the real allocator refuses it."""
    picture = replace(pictures()[0], network_hw=(1 << 24, 1 << 24))
    (answer,) = segmenter().forward([picture])
    assert isinstance(answer, ImageFailure)
    assert answer.code is ErrorCode.OUT_OF_MEMORY


def test_nothing_in_nothing_out():
    assert segmenter().forward([]) == []


def test_threads_are_set_not_left_to_chance():
    before = torch.get_num_threads()
    try:
        segmenter(threads=2)
        assert torch.get_num_threads() == 2
        segmenter(threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_untrained_networks_must_be_asked_for_and_are_the_same_each_time():
    with pytest.raises(ModelError, match="--weights FILE"):
        Segmenter(SPEC, None)
    first, second = (segmenter().forward(pictures()[:1])[0].logits for _ in range(2))
    assert np.array_equal(first, second)
    before = torch.get_rng_state()
    load_network(SPEC, None, untrained=True)
    assert torch.equal(before, torch.get_rng_state())


def test_another_file_than_announced_is_refused(tmp_path):
    file = tmp_path / "w.pth"
    torch.save(load_network(SPEC, None, untrained=True).state_dict(), file)
    right = Segmenter(SPEC, file, precision="fp32").weights_sha256
    assert Segmenter(SPEC, file, precision="fp32", expected_sha256=right).weights_sha256 == right
    with pytest.raises(WeightsRefused, match="expected 00"):
        Segmenter(SPEC, file, expected_sha256="00" * 32)


@pytest.mark.parametrize("num_classes", [1, 2, 40])
def test_class_count_comes_from_the_file(tmp_path, num_classes):
    from maskmill.pipeline.models.segmenter import build_network

    file = tmp_path / "w.pth"
    torch.save({"model": build_network(SPEC, num_classes).state_dict()}, file)
    one = Segmenter(SPEC, file, precision="fp32")
    assert one.num_classes == num_classes
    assert one.forward(pictures()[:1])[0].logits.shape[0] == num_classes


def test_bf16_results_do_not_depend_on_threads():
    before = torch.get_num_threads()
    try:
        one, two = (
            segmenter(precision="bf16", threads=threads).forward(pictures()[:1])[0].logits
            for threads in (1, 2)
        )
    finally:
        torch.set_num_threads(before)
    assert np.allclose(one, two, atol=1e-2)


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(SettingsError, match="fp16 needs a CUDA device"):
        segmenter(precision="fp16")
