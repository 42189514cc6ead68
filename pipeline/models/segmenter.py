"""Segmenter: a network on a device; pictures at network size in, logits on their grid out."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maskmill.pipeline.models.device_failures import check_device, out_of_memory
from maskmill.pipeline.models.graphs import NO_ROOM, Graphs
from maskmill.pipeline.models.groups import equal_shapes, parts
from maskmill.pipeline.models.loading import build_network as build_network
from maskmill.pipeline.models.loading import load_model
from maskmill.pipeline.models.loading import load_network as load_network
from maskmill.pipeline.models.loading import num_classes_of as num_classes_of
from maskmill.pipeline.models.network_input import DeviceInput
from maskmill.pipeline.models.network_input import network_input as network_input
from maskmill.pipeline.models.penultimate import FeatureTap
from maskmill.pipeline.models.placement import place_network
from maskmill.pipeline.models.precision import DTYPES, resolve_precision
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.torch_settings import exact_kernels
from maskmill.pipeline.models.weights.cache import weights_sha256
from maskmill.pipeline.models.weights.state import classifier_name
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.pipeline.views.preparation import (
    NetworkPicture,
    grid_maps,
    valid_part,
)
from maskmill.schemas.arrays import LogitGrid
from maskmill.schemas.errors import ErrorCode, ImageFailure, WeightsRefused


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


@dataclass(frozen=True, slots=True, eq=False)
class _Computed:
    """A picture and its (C, h, w) float32 logits, which may still be on their way to the host."""

    picture: NetworkPicture
    grid: Tensor
    halved: bool
    feature: Tensor | None  # (D,), on the device


class Segmenter:
    """A network with its weights, on one device, at one precision. Threads may share it.

    ``group_size`` pictures go through the network at once, always exactly so many, so that a
    picture's result does not depend on its neighbours in the call. On a CPU 1 is best.
    ``fitting_group``: where so many are known to fit into memory and no more, groups are cut into
    such at once, and not after each has failed. With ``features`` every answer has its feature,
    and the same logits as without. With ``graphs`` a GPU replays what repeats, where that gives
    the same bits; features are not kept by a replay, so with them nothing is replayed.

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
        fitting_group: int | None = None,
        expected_sha256: str | None = None,
        untrained: bool = False,
        features: bool = False,
        graphs: bool = False,
    ) -> None:
        self._threads, self._thread = threads, threading.local()
        torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.precision = resolve_precision(precision, device, spec.precisions)
        self.group_size = group_size
        self.fitting_group = min(fitting_group or group_size, group_size)
        self.weights_sha256 = _checked_sha256(weights_path, expected_sha256)
        model = load_model(spec, weights_path, untrained=untrained)
        self.spec, self.notes = model.spec, model.notes
        self.num_classes = num_classes_of(model.network)
        classifier = classifier_name(model.network)
        placed = place_network(model.network, self.device, DTYPES[self.precision], classifier)
        self.network, self._autocast = placed.network, placed.autocast
        self._input = DeviceInput(self.spec.preprocessing, self.device)
        self._turn = threading.Lock() if _has_hooks(self.network) else nullcontext()
        self._tap = FeatureTap(model.network.get_submodule(classifier)) if features else None
        self._graphs = Graphs() if graphs and not features and device != "cpu" else None
        if self.device.type == "cuda":
            exact_kernels()

    def forward(self, pictures: Sequence[NetworkPicture]) -> list[PictureLogits | ImageFailure]:
        """Logits of every picture, in order; a failure in place of one that memory cannot hold.

        On a GPU all groups are launched before any answer is waited for.

        Raises:
            DeviceLost: the GPU failed in a way that ends its use by this process.
        """
        self._bound_threads()
        results: list[_Computed | ImageFailure | None] = [None] * len(pictures)
        for positions in equal_shapes(pictures, self.group_size):
            group = [pictures[position] for position in positions]
            for position, result in zip(positions, self._in_parts(group), strict=True):
                results[position] = result
        self._await_answers()
        return [
            self._answer(result) if isinstance(result, _Computed) else result
            for result in results
            if result is not None
        ]

    def largest_group(self, picture: NetworkPicture) -> int:
        """How many pictures of this shape memory holds at once: the group, halved until they fit.

        0 where not even one does.
        """
        self._bound_threads()
        size = self.group_size
        while size and self._grids([picture] * size) is None:
            size //= 2
        self._await_answers()
        return size

    def graph_trouble(self, picture: NetworkPicture) -> str | None:
        """Why a group of such pictures is not replayed as a CUDA graph; None where it can be."""
        if self._graphs is None:
            return "none were asked for"
        self._graphs.calls_before = 1
        self._grids([picture] * self.fitting_group)
        self._await_answers()
        return self._graphs.trouble

    def _bound_threads(self) -> None:
        """OpenMP keeps the number per calling thread: oneDNN would take all cores in a new one."""
        if not getattr(self._thread, "is_bound", False):
            torch.set_num_threads(self._threads)
            self._thread.is_bound = True

    def _group(self, group: list[NetworkPicture], size: int) -> "list[_Computed | ImageFailure]":
        """Pictures of equal shape, filled up to ``size``; halved while memory does not suffice."""
        grids = self._grids(group + [group[-1]] * (size - len(group)))
        if grids is not None:
            halved = size < self.group_size
            found: list[Tensor | None] = (
                [None] * size if self._tap is None else self._tap.pooled(group, grids, self.spec)
            )
            computed = zip(group, grids, found)  # noqa: B905 - the group may be filled up
            return [_Computed(picture, grid, halved, one) for picture, grid, one in computed]
        if size == 1:
            return [_too_large(picture, self.device) for picture in group]
        half = size // 2
        return [result for part in parts(group, half) for result in self._group(part, half)]

    def _in_parts(self, group: list[NetworkPicture]) -> "list[_Computed | ImageFailure]":
        """A group in parts that are known to fit; in one where nothing is known."""
        size = self.fitting_group
        return [result for part in parts(group, size) for result in self._group(part, size)]

    def _grids(self, group: list[NetworkPicture]) -> Tensor | None:
        """(N, C, h, w) float32 logits on the host; None where memory does not suffice.

        Raises:
            DeviceLost: the GPU failed in a way that ends its use by this process.
        """
        grids = self._grids_or_none(group)
        if grids is None and self._graphs and self._graphs.count:
            self._await_answers()  # what is at work in them still reads and writes there
            self._graphs.give_up(NO_ROOM)
            torch.cuda.empty_cache()
            return self._grids_or_none(group)
        return grids

    def _grids_or_none(self, group: list[NetworkPicture]) -> Tensor | None:
        try:
            return self._logits(group)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                check_device(self.device, error)
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    @torch.inference_mode()
    def _logits(self, group: list[NetworkPicture]) -> Tensor:
        """(N, C, h, w) float32 logits of pictures of equal network size.

        On their way to the host where they come from a GPU: see :meth:`_await_answers`.
        """
        if self.device.type == "cpu":
            pixels = network_input(group, self.spec.preprocessing, self.device)
        else:
            pixels = self._input(group)
        if self._tap is not None:
            self._tap.start()
        logits = self._graphs(self._called, pixels) if self._graphs else self._called(pixels)
        if self.device.type == "cpu":
            return logits
        return torch.empty(logits.shape, pin_memory=True).copy_(logits, non_blocking=True)

    def _called(self, pixels: Tensor) -> Tensor:
        """(N, C, h, w) float32 logits, on the device."""
        dtype = DTYPES[self.precision]
        with self._turn, torch.autocast(self.device.type, dtype, enabled=self._autocast):
            logits: Tensor = self.network(pixels).float()
        return logits

    def _await_answers(self) -> None:
        """The one moment at which a GPU is waited for.

        Raises:
            DeviceLost: something of what it was told to do has failed, and with it all the rest.
        """
        if self.device.type != "cuda":
            return
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            check_device(self.device, error)
            raise

    def _answer(self, computed: "_Computed") -> PictureLogits | ImageFailure:
        """The logits, or why they are none: half precision ends at 65,504."""
        grid: LogitGrid = computed.grid.numpy()
        if np.isfinite(grid.sum(dtype=np.float64)):
            return self._cropped(computed, grid)
        return ImageFailure(
            ErrorCode.NOT_FINITE,
            f"the network's answer in {self.precision} holds NaN or infinity; try --precision fp32 "
            "in another output folder",
        )

    def _cropped(self, computed: "_Computed", grid: LogitGrid) -> PictureLogits:
        grid_hw = (grid.shape[1], grid.shape[2])
        rows, cols = grid_maps(computed.picture, grid_hw, self.spec.alignment)
        (read_rows, rows), (read_cols, cols) = map(valid_part, (rows, cols), grid_hw)
        feature = None if computed.feature is None else computed.feature.cpu().numpy()
        cropped = grid[:, read_rows, read_cols]
        return PictureLogits(cropped, rows, cols, computed.halved, feature)


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


def _too_large(picture: NetworkPicture, device: torch.device) -> ImageFailure:
    height, width = picture.network_hw
    return ImageFailure(
        ErrorCode.OUT_OF_MEMORY,
        f"a network input of {width}x{height} does not fit into the memory of {device}; "
        "use a smaller --image-size, or --window",
    )
