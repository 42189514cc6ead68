"""Pictures of equal network size as a network is fed them: normalised, padded around a place."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskmill.pipeline.views.preparation import NetworkPicture, pixel_tensor
from maskmill.pipeline.views.preprocessing import Preprocessing


def network_input(
    group: Sequence[NetworkPicture], preprocessing: Preprocessing, device: torch.device
) -> Tensor:
    """(N, 3, H, W) float32, channels last: normalised, padded around its place.

    Padding is 0, or the grey that the preprocessing names, normalised.
    """
    if device.type != "cpu":
        return DeviceInput(preprocessing, device)(group)
    height, width = group[0].network_hw
    values = torch.empty((len(group), height, width * 3))
    for slot, picture in zip(values, group, strict=True):
        _normalise(picture, preprocessing, slot)
    return values.view(len(group), height, width, 3).permute(0, 3, 1, 2)


class DeviceInput:
    """The same values as :func:`network_input` gives, made on a device from one upload.

    Pictures travel as bytes, a group at once, from memory that the device reads by itself; how many
    launches that takes does not depend on how many pictures there are.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._device = device
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self._mean, self._std = mean.to(device), std.to(device)
        self._padding = _padding(preprocessing).to(device)

    def __call__(self, group: Sequence[NetworkPicture]) -> Tensor:
        """(N, 3, H, W) float32 on the device, channels last."""
        height, width = group[0].network_hw
        pixels = self._empty((len(group), height, width, 3), torch.uint8)
        places = self._empty((4, len(group), 1, 1, 1), torch.int32)
        for slot, place, picture in zip(pixels, places.unbind(1), group, strict=True):
            top, left, bottom, right = _place(picture)
            slot[top:bottom, left:right].copy_(pixel_tensor(picture.pixels))
            place.view(4).copy_(torch.tensor((top, left, bottom, right), dtype=torch.int32))
        values = self._sent(pixels).to(torch.float32).sub_(self._mean).div_(self._std)
        if any(_place(picture) != (0, 0, height, width) for picture in group):
            values = torch.where(self._inside(places, height, width), values, self._padding)
        return values.permute(0, 3, 1, 2)

    def _inside(self, places: Tensor, height: int, width: int) -> Tensor:
        """(N, H, W, 1): where a picture lies."""
        top, left, bottom, right = self._sent(places).unbind(0)
        rows = torch.arange(height, device=self._device).view(1, height, 1, 1)
        columns = torch.arange(width, device=self._device).view(1, 1, width, 1)
        return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=self._device.type == "cuda")

    def _sent(self, values: Tensor) -> Tensor:
        return values.to(self._device, non_blocking=True)


def _place(picture: NetworkPicture) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the picture on what the network sees."""
    top, left = picture.place_yx
    height, width = picture.pixels.shape[:2]
    return top, left, top + height, left + width


def _padding(preprocessing: Preprocessing) -> Tensor:
    """(3,): the value of pixels beside the picture, normalised."""
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    if preprocessing.pad_value is None:
        return torch.zeros(3)
    return (torch.tensor(preprocessing.pad_value) - mean) / std


def _normalise(picture: NetworkPicture, preprocessing: Preprocessing, slot: Tensor) -> None:
    """Fill one (H, 3 W) slot; a row is one long vector, as broadcasting over 3 channels is slow."""
    height, width = picture.pixels.shape[:2]
    pixels = pixel_tensor(picture.pixels).view(height, width * 3)
    mean = torch.tensor(preprocessing.mean).repeat(width)
    std = torch.tensor(preprocessing.std).repeat(width)
    top, left, bottom, right = _place(picture)
    left, right = left * 3, right * 3
    slot[top:bottom, left:right].copy_(pixels).sub_(mean).div_(std)
    sides = slot[top:bottom, :left], slot[top:bottom, right:]
    for margin in (slot[:top], slot[bottom:], *sides):
        if not margin.numel():
            continue
        if preprocessing.pad_value is None:
            margin.zero_()
        else:
            margin.copy_(_padding(preprocessing).repeat(margin.shape[1] // 3))
