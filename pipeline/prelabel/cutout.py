"""Cutting a subject out of a picture: a soft edge that follows the picture, and what lies behind.

What is smooth by nature (edge coefficients, mean colours, blurred backgrounds) is computed on the
picture reduced to GUIDE_SIDE and read bilinearly at the full size, which is walked in bands: so
the cost is small, and memory beyond the result does not grow with the picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.averages import View, average_probabilities, place
from maskmill.pipeline.labelling.confidence import grid_probabilities
from maskmill.pipeline.labelling.upsample import sample_bilinear
from maskmill.pipeline.prelabel.edge_fit import EdgeFit, box_mean, fit_edges
from maskmill.pipeline.views.geometry import GridView, resized
from maskmill.schemas.arrays import RgbImage, ScoreMap
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import Color, LabelMap

Background = Literal["blur", "remove", "color"]
Planes = npt.NDArray[np.float32]

GUIDE_SIDE = 640
"""Longest side on which edges are fitted: finer than the grids of these networks."""

_WINDOW = 1 / 60
"""Radius of the windows in which the edge is fitted, as a share of the longest side: about one
point of a grid of stride 8 at the size these networks are run at, which is how far off it is."""
_BAND_PIXELS = 1 << 19
_TINY = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoutSettings:
    """How cutouts look.

    ``classes`` are the names of what stays; none given: every class but the background.
    ``threshold``, between 0 and 1, is the summed probability of these classes at which a pixel is
    half in. ``blur`` is the deviation of the Gaussian in percent of the picture's longest side.
    ``min_area``: connected pieces with fewer pixels at that probability go with the background.
    """

    background: Background = "blur"
    color: Color = (255, 255, 255)
    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    blur: float = 2.0
    min_area: int = 0

    @property
    def has_alpha(self) -> bool:
        """Whether the result is transparent somewhere."""
        return self.background == "remove"

    @property
    def extension(self) -> str:
        """PNG for what is transparent, else JPEG."""
        return ".png" if self.has_alpha else ".jpg"

    def check(self, labels: LabelMap) -> None:
        """Refuse classes that the map does not have; see :func:`chosen_classes`."""
        chosen_classes(self, labels)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CutoutSettings":
        """The settings that :meth:`to_dict` wrote."""
        red, green, blue = values["color"]
        return cls(**{**values, "classes": tuple(values["classes"]), "color": (red, green, blue)})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "classes": list(self.classes), "color": list(self.color)}


def chosen_classes(settings: CutoutSettings, labels: LabelMap) -> list[int]:
    """Indices of the classes that stay, ascending.

    Raises:
        SettingsError: a name the map does not have, or none given and no background in the map.
    """
    if settings.classes:
        return sorted({labels.index_of(name) for name in settings.classes})
    if labels.background_index is None:
        raise SettingsError(
            f"label map {labels.name!r} has no background, so every pixel would stay; name what "
            f"is to stay with --classes, of: {', '.join(labels.names)}"
        )
    return [entry.index for entry in labels.classes if not entry.is_background]


def foreground_probability(
    views: Sequence[GridView],
    classes: Sequence[int],
    size_hw: tuple[int, int],
    ys: npt.NDArray[np.intp],
    xs: npt.NDArray[np.intp],
) -> ScoreMap:
    """(n, m) summed probability of ``classes`` at pixel rows ``ys`` and columns ``xs``, ascending.

    ``views`` are the network's answers to a picture of ``size_hw`` pixels; several are averaged.
    """
    placed = []
    for view in views:
        plane = grid_probabilities(view.grid)[list(classes)].sum(axis=0, keepdims=True)
        placed.append(place(View(plane, view.rows, view.cols), size_hw))
    values, total = average_probabilities(placed, ys, xs)
    probability: ScoreMap = values[0] / total
    return probability.clip(0, 1)


def edge_ramp(probability: ScoreMap, threshold: float = 0.5) -> ScoreMap:
    """Opacity by probability: 0 up to t/2, one half at the threshold t, 1 from (1 + t)/2.

    Straight lines lie between; t is between 0 and 1.
    """
    knots = (threshold / 2, threshold, (1 + threshold) / 2)
    return np.interp(probability, knots, (0.0, 0.5, 1.0)).astype(np.float32)


def without_crumbs(probability: ScoreMap, threshold: float, least: float) -> ScoreMap:
    """The map with 0 in its pieces of fewer than ``least`` pixels.

    A piece is what is not wholly transparent and hangs together by 8 neighbours; of its pixels
    count those that are half in or more.
    """
    count, pieces = cv2.connectedComponents((probability > threshold / 2).astype(np.uint8))
    kept = np.bincount(pieces[probability >= threshold], minlength=count) >= least
    kept[0] = False  # what is transparent
    return np.where(kept[pieces], probability, np.float32(0))


def cut_out(
    image: RgbImage, views: Sequence[GridView], classes: Sequence[int], settings: CutoutSettings
) -> npt.NDArray[np.uint8]:
    """The picture with its subject kept, at its own size.

    Args:
        image: (H, W, 3) uint8.
        views: the network's answers to it.
        classes: indices of the classes that stay.
        settings: what becomes of the rest.

    Returns:
        (H, W, 4) uint8 RGBA, not premultiplied and black where transparent, for ``remove``;
        else (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    layers = _layers(image, views, classes, settings)
    result = np.empty((height, width, 4 if settings.has_alpha else 3), np.uint8)
    for band in _bands(height, width):
        pixels = image[band].astype(np.float32) * np.float32(1 / 255)
        alpha = _opacity(layers.edges, pixels, band, (height, width))
        planes = {
            name: _at_full_size(plane, band, (height, width))
            for name, plane in (("subject", layers.subject), ("behind", layers.behind))
        }
        subject = _unmixed(pixels, alpha, planes["subject"], planes["behind"])
        if settings.has_alpha:
            subject *= alpha > 0
            result[band][..., 3] = _bytes(alpha)[..., 0]
        else:
            ground = _ground(layers, settings, band, (height, width))
            subject = alpha * subject + (1 - alpha) * ground
        result[band][..., :3] = _bytes(subject)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class _Layers:
    """All on the reduced picture: (h, w, 3) colours in 0..1, and the fitted edge.

    ``subject`` and ``behind`` are mean colours around each pixel of what stays and of the rest.
    """

    edges: EdgeFit
    subject: Planes
    behind: Planes
    blurred: Planes | None


def _layers(
    image: RgbImage, views: Sequence[GridView], classes: Sequence[int], settings: CutoutSettings
) -> _Layers:
    size = image.shape[0], image.shape[1]
    guide = _reduced(image)
    rows, cols = (
        ((np.arange(small) + 0.5) * full / small).astype(np.intp)
        for small, full in zip(guide.shape[:2], size, strict=True)
    )
    probability = foreground_probability(views, classes, size, rows, cols)
    if settings.min_area:
        least = settings.min_area * probability.size / (size[0] * size[1])
        probability = without_crumbs(probability, settings.threshold, least)
    radius = max(1, round(_WINDOW * max(guide.shape)))
    edges = fit_edges(guide, edge_ramp(probability, settings.threshold), radius)
    alpha = edge_ramp(edges.at(guide, edges.slope, edges.offset))
    return _Layers(
        edges=edges,
        subject=_mean_color(guide, alpha, 2 * radius),
        behind=_mean_color(guide, 1 - alpha, 2 * radius),
        blurred=_blurred(guide, alpha, settings.blur) if settings.background == "blur" else None,
    )


def _reduced(image: RgbImage) -> Planes:
    """(h, w, 3) float32 in 0..1, at most GUIDE_SIDE long."""
    height, width = image.shape[:2]
    scale = min(1.0, GUIDE_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    guide: Planes = small.astype(np.float32) * np.float32(1 / 255)
    return guide


def _mean_color(guide: Planes, weight: ScoreMap, radius: int) -> Planes:
    weight = weight[..., None]
    mean: Planes = box_mean(guide * weight, radius)
    mean /= box_mean(weight, radius)[..., None] + _TINY
    return mean


def _blurred(guide: Planes, alpha: ScoreMap, percent: float) -> Planes:
    """The background blurred by itself: what may be subject has no weight, so it leaves no halo."""
    sigma = percent / 100 * max(guide.shape)
    reach = 2 * max(1, round(_WINDOW * max(guide.shape) / 2)) + 1
    weight = np.square(1 - cv2.dilate(alpha, np.ones((reach, reach), np.uint8)))[..., None]
    mean = (guide * weight).sum(axis=(0, 1)) / (weight.sum() + _TINY)
    known = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)[..., None]
    colors = cv2.GaussianBlur(guide * weight, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    blurred: Planes = (colors + _TINY * mean.astype(np.float32)) / (known + _TINY)
    return blurred


def _bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _at_full_size(planes: Planes, band: slice, size_hw: tuple[int, int]) -> Planes:
    """Reduced (h, w, n) planes at the pixels of a band of the picture, (rows, W, n)."""
    rows = resized(size_hw[0], planes.shape[0]).shifted(band.start)
    cols = resized(size_hw[1], planes.shape[1])
    shape = (band.stop - band.start, size_hw[1])
    parts = [
        sample_bilinear(planes[..., part], rows, cols, shape) for part in range(planes.shape[2])
    ]
    return np.stack(parts, axis=-1)


def _opacity(edges: EdgeFit, pixels: Planes, band: slice, size_hw: tuple[int, int]) -> Planes:
    """(rows, W, 1) opacity of a band: the fitted edge at the full size's own colours, sharpened."""
    slope = _at_full_size(edges.slope, band, size_hw)
    offset = _at_full_size(edges.offset[..., None], band, size_hw)[..., 0]
    return edge_ramp(edges.at(pixels, slope, offset))[..., None]


def _unmixed(pixels: Planes, alpha: Planes, subject: Planes, behind: Planes) -> Planes:
    """The subject's own colours where a pixel shows it and what is behind it.

    A pixel is alpha F + (1 - alpha) B. F and B are taken for the mean colours around it, and what
    then remains unexplained is laid upon F. Where alpha is 1 the pixel stays as it is.
    """
    missing = pixels - alpha * subject - (1 - alpha) * behind
    own: Planes = subject + alpha * missing
    return own.clip(0, 1)


def _ground(
    layers: _Layers, settings: CutoutSettings, band: slice, size_hw: tuple[int, int]
) -> Planes:
    if layers.blurred is not None:
        return _at_full_size(layers.blurred, band, size_hw)
    return np.array(settings.color, np.float32) * np.float32(1 / 255)


def _bytes(values: Planes) -> npt.NDArray[np.uint8]:
    return np.rint(values * 255).astype(np.uint8)
