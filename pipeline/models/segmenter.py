"""Segmenter: a network on a device; pictures at network size in, logits on their grid out."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maskmill.pipeline.models.loading import build_network as build_network
from maskmill.pipeline.models.loading import load_model
from maskmill.pipeline.models.loading import load_network as load_network
from maskmill.pipeline.models.loading import num_classes_of as num_classes_of
from maskmill.pipeline.models.networks.fused_convolution import fuse_network
from maskmill.pipeline.models.networks.tf_mobilenetv2 import TfMobileNetV2DeepLab
from maskmill.pipeline.models.penultimate import FeatureTap, pooled
from maskmill.pipeline.models.precision import DTYPES, resolve_precision
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.weights.cache import weights_sha256
from maskmill.pipeline.models.weights.state import classifier_name
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.pipeline.views.preparation import (
    NetworkPicture,
    grid_maps,
    pixel_tensor,
    valid_part,
)
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.arrays import LogitGrid
from maskmill.schemas.errors import ErrorCode, ImageFailure, WeightsRefused

_EXHAUSTED = (
    "can't allocate memory",  # PyTorch's CPU allocator
    "CUDA error: out of memory",  # beside PyTorch's own allocator, an AcceleratorError
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN, without room to work in
)


@dataclass(frozen=True, slots=True, eq=False)
class PictureLogits:
    """What the network says about one picture.

    ``logits`` is (C, h, w) float32, cropped to the grid points the picture reads. ``rows`` and
    ``cols`` map original pixels onto it. ``halved``: memory ran out and the picture was computed in
    a smaller group than asked for, so its last bits may differ from a run with more memory.
    ``feature`` is (D,), what entered the classifier on average over the same points; None where it
    was not asked for.
    """

    logits: LogitGrid
    rows: AxisMap
    cols: AxisMap
    halved: bool
    feature: npt.NDArray[np.float32] | None = None


class Segmenter:
    """A network with its weights, on one device, at one precision. Threads may share it.

    ``group_size`` pictures go through the network at once, always exactly so many, so that a
    picture's result does not depend on its neighbours in the call. On a CPU 1 is best. With
    ``features`` every answer has its feature, and the same logits as without.

    Raises:
        ModelError: no weights (and not ``untrained``), or weights that do not fit.
        WeightsRefused: the file would run code, or is not the one whose hash was announced.
        SettingsError: a precision the device does not have.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights_path: Path | None,
        *,
        device: str = "cpu",
        precision: str = "auto",
        threads: int = 1,
        group_size: int = 1,
        expected_sha256: str | None = None,
        untrained: bool = False,
        features: bool = False,
    ) -> None:
        self._threads, self._thread = threads, threading.local()
        torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.precision = resolve_precision(precision, device, spec.precisions)
        self.group_size = group_size
        self.weights_sha256 = _checked_sha256(weights_path, expected_sha256)
        model = load_model(spec, weights_path, untrained=untrained)
        self.spec, self.notes = model.spec, model.notes
        self.num_classes = num_classes_of(model.network)
        classifier = classifier_name(model.network)
        self.network = self._placed(model.network)
        self._turn = threading.Lock() if _has_hooks(self.network) else nullcontext()
        self._tap = FeatureTap(model.network.get_submodule(classifier)) if features else None
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = False  # it may pick other kernels from run to run
            torch.backends.cudnn.deterministic = True  # and some of these add in any order
            torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32

    def forward(self, pictures: Sequence[NetworkPicture]) -> list[PictureLogits | ImageFailure]:
        """Logits of every picture, in order; a failure in place of one that memory cannot hold."""
        self._bound_threads()
        results: list[PictureLogits | ImageFailure | None] = [None] * len(pictures)
        for positions in _equal_shapes(pictures, self.group_size):
            group = [pictures[position] for position in positions]
            for position, result in zip(
                positions, self._group(group, self.group_size), strict=True
            ):
                results[position] = result
        return [result for result in results if result is not None]

    def _bound_threads(self) -> None:
        """OpenMP keeps the number per calling thread: oneDNN would take all cores in a new one."""
        if not getattr(self._thread, "is_bound", False):
            torch.set_num_threads(self._threads)
            self._thread.is_bound = True

    def _placed(self, network: nn.Module) -> nn.Module:
        """On the device; on a CPU with activations fused into convolutions where it can be."""
        self._fused = self.device.type == "cpu" and isinstance(network, TfMobileNetV2DeepLab)
        if isinstance(network, TfMobileNetV2DeepLab) and self._fused:
            return fuse_network(network, DTYPES[self.precision])
        return network.to(self.device).to(memory_format=torch.channels_last)

    def _group(self, group: list[NetworkPicture], size: int) -> list[PictureLogits | ImageFailure]:
        """One group of equal shape, halved for as long as memory does not suffice."""
        try:
            grids = self._logits(group + [group[-1]] * (size - len(group)))
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            grids = None
        if grids is not None:
            halved = size < self.group_size
            features = None if self._tap is None else self._tap.take()
            return [
                self._answer(picture, grid, halved, None if features is None else features[place])
                for place, (picture, grid) in enumerate(zip(group, grids))  # noqa: B905
            ]
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            return [_too_large(picture, self.device) for picture in group]
        half = size // 2
        parts = [group[start : start + half] for start in range(0, len(group), half)]
        return [result for part in parts for result in self._group(part, half)]

    @torch.inference_mode()
    def _logits(self, group: list[NetworkPicture]) -> LogitGrid:
        """(N, C, h, w) float32 logits of pictures of equal network size."""
        pixels = network_input(group, self.spec.preprocessing, self.device)
        dtype = DTYPES[self.precision]
        autocast = dtype != torch.float32 and not self._fused
        if self._tap is not None:
            self._tap.start()
        with self._turn, torch.autocast(self.device.type, dtype, enabled=autocast):
            logits = self.network(pixels)
        grid: LogitGrid = logits.float().cpu().numpy()
        return grid

    def _answer(
        self, picture: NetworkPicture, grid: LogitGrid, halved: bool, features: Tensor | None
    ) -> PictureLogits | ImageFailure:
        """The logits, or why they are none: half precision ends at 65,504."""
        if np.isfinite(grid.sum(dtype=np.float64)):
            return self._cropped(picture, grid, halved, features)
        return ImageFailure(
            ErrorCode.NOT_FINITE,
            f"the network's answer in {self.precision} holds NaN or infinity; try --precision fp32 "
            "in another output folder",
        )

    def _cropped(
        self, picture: NetworkPicture, grid: LogitGrid, halved: bool, features: Tensor | None
    ) -> PictureLogits:
        grid_hw = (grid.shape[1], grid.shape[2])
        rows, cols = grid_maps(picture, grid_hw, self.spec.alignment)
        (read_rows, rows), (read_cols, cols) = map(valid_part, (rows, cols), grid_hw)
        feature = None if features is None else pooled(features, grid_hw, read_rows, read_cols)
        return PictureLogits(grid[:, read_rows, read_cols], rows, cols, halved, feature)


def network_input(
    group: Sequence[NetworkPicture], preprocessing: Preprocessing, device: torch.device
) -> Tensor:
    """(N, 3, H, W) float32, channels last: normalised, padded around its place.

    Padding is 0, or the grey that the preprocessing names, normalised.
    """
    height, width = group[0].network_hw
    values = torch.empty((len(group), height, width * 3), device=device)
    for slot, picture in zip(values, group, strict=True):
        _normalise(picture, preprocessing, slot)
    return values.view(len(group), height, width, 3).permute(0, 3, 1, 2)


def _normalise(picture: NetworkPicture, preprocessing: Preprocessing, slot: Tensor) -> None:
    """Fill one (H, 3 W) slot; a row is one long vector, as broadcasting over 3 channels is slow."""
    height, width = picture.pixels.shape[:2]
    pixels = pixel_tensor(picture.pixels).view(height, width * 3)
    if slot.is_cuda:
        pixels = pixels.pin_memory().to(slot.device, non_blocking=True)
    mean = torch.tensor(preprocessing.mean).repeat(width).to(slot.device, non_blocking=True)
    std = torch.tensor(preprocessing.std).repeat(width).to(slot.device, non_blocking=True)
    top, left = picture.place_yx
    bottom, right = top + height, (left + width) * 3
    slot[top:bottom, left * 3 : right].copy_(pixels).sub_(mean).div_(std)
    sides = slot[top:bottom, : left * 3], slot[top:bottom, right:]
    for margin in (slot[:top], slot[bottom:], *sides):
        if margin.numel():
            _fill_margin(margin, preprocessing)


def _fill_margin(margin: Tensor, preprocessing: Preprocessing) -> None:
    """Padding, (h, 3 w)."""
    if preprocessing.pad_value is None:
        margin.zero_()
        return
    grey = torch.tensor(preprocessing.pad_value) - torch.tensor(preprocessing.mean)
    fill = (grey / torch.tensor(preprocessing.std)).to(margin.device)
    margin.copy_(fill.repeat(margin.shape[1] // 3))


def _has_hooks(network: nn.Module) -> bool:
    """Whether a call leaves something in the network: then threads must take turns.

    timm's encoders without a plain list of stages (Xception) collect their features so.
    """
    return any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def _checked_sha256(path: Path | None, expected: str | None) -> str:
    found = weights_sha256(path) if path is not None and path.is_file() else ""
    if expected and found != expected:
        raise WeightsRefused(f"{path} has sha256 {found or 'none'}, expected {expected}")
    return found


def _equal_shapes(pictures: Sequence[NetworkPicture], size: int) -> Iterator[list[int]]:
    """Positions of pictures of equal network size, in order, at most ``size`` at once."""
    waiting: dict[tuple[int, int], list[int]] = {}
    for position, picture in enumerate(pictures):
        group = waiting.setdefault(picture.network_hw, [])
        group.append(position)
        if len(group) == size:
            yield waiting.pop(picture.network_hw)
    yield from waiting.values()


def _out_of_memory(error: BaseException) -> bool:
    """Whether an operation failed for lack of memory; libraries have a sentence each for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        sentence in str(error) for sentence in _EXHAUSTED
    )


def _too_large(picture: NetworkPicture, device: torch.device) -> ImageFailure:
    height, width = picture.network_hw
    return ImageFailure(
        ErrorCode.OUT_OF_MEMORY,
        f"a network input of {width}x{height} does not fit into the memory of {device}; "
        "use a smaller --image-size, or --window",
    )
