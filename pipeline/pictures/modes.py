r"""Written rules: how every Pillow mode becomes RGB, 8 bits per channel.

| pixels in the file | RGB |
|---|---|
| grey, 8 bits or fewer (``L``, ``1``) | the value in all three channels; 1 bit is 0 or 255 |
| palette (``P``) | the palette's colours |
| alpha, or one transparent colour | composed over white, rounded to the nearest value |
| CMYK, YCCK | R = (255 - C)(255 - K) / 255, …; Adobe's inverted inks are turned round first |
| ``YCbCr``, ``HSV`` | by Pillow's formulas |
| ``LAB`` | to sRGB by littleCMS |
| 16 bits per channel | the high byte |
| 32-bit integers | clipped to 0..65535, then the high byte |
| floats | by the range they all lie in: [0, 1] x 255; [0, 255] rounded; other: least to 0, \
greatest to 255. What is not finite becomes 0 |
"""

import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import RgbImage


def array_to_rgb(
    array: npt.NDArray[np.generic], mode: str, transparent: object = None
) -> tuple[RgbImage, str]:
    """RGB pixels and what to note about the way, '' for nothing.

    Args:
        array: (H, W, 3), (H, W, 4) with alpha, or (H, W) of values wider than 8 bits.
        mode: Pillow mode of the file.
        transparent: the transparent grey value of a 16-bit picture, if it has one.
    """
    if array.ndim == 2:
        grey, note = _wide_to_grey(array, mode)
        if isinstance(transparent, int):
            grey = np.where(array == transparent, np.uint8(255), grey)
        return np.repeat(grey[:, :, None], 3, axis=2), note
    if array.shape[2] == 4:
        return over_white(array.astype(np.uint8, copy=False))
    note = "" if mode in ("RGB", "L", "P", "1") else f"{mode} converted to RGB"
    return array.astype(np.uint8, copy=False), note


def over_white(rgba: npt.NDArray[np.uint8]) -> tuple[RgbImage, str]:
    """(H, W, 4) composed over white: round(colour x a / 255 + 255 (1 - a / 255))."""
    alpha = rgba[:, :, 3]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[:, :, :3]), ""
    # 255 - rgb fades with alpha: one product of 16 bits is exact.
    fade = (255 - rgba[:, :, :3]).astype(np.uint16) * alpha[:, :, None]
    return (255 - (fade + 127) // 255).astype(np.uint8), "transparency over white"


def _wide_to_grey(array: npt.NDArray[np.generic], mode: str) -> tuple[npt.NDArray[np.uint8], str]:
    if mode == "F":
        return _floats_to_grey(array.astype(np.float64))
    values = np.clip(array.astype(np.int64), 0, 65535)
    bits = 32 if mode == "I" else 16
    note = f"{bits} bits to 8 by the high byte of 16; largest value {int(values.max(initial=0))}"
    return (values >> 8).astype(np.uint8), note


def _floats_to_grey(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.uint8], str]:
    finite = np.isfinite(values)
    known = values[finite] if finite.any() else np.zeros(1)
    low, high = float(known.min()), float(known.max())
    values = np.where(finite, values, 0.0)
    if low >= 0.0 and high <= 1.0:
        return _rounded(values * 255.0), "floats of [0, 1] times 255"
    if low >= 0.0 and high <= 255.0:
        return _rounded(values), "floats of [0, 255] rounded"
    scaled = (values - low) * (255.0 / max(high - low, 1e-300))
    return _rounded(np.where(finite, scaled, 0.0)), f"floats {low:g}..{high:g} onto 0..255"


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return np.floor(values + 0.5).astype(np.uint8)
