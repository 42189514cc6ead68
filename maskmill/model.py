"""A model from Python: pictures in, masks and confidences out, one at a time."""

from os import PathLike, fspath
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from maskmill.caller import process_kept
from maskmill.jobs.option_values import checked
from maskmill.jobs.prelabel import prelabel
from maskmill.keywords import ModelKeywords, PathOrUri
from maskmill.pipeline.labelling.pixel_confidence import pixel_confidence
from maskmill.pipeline.labelling.upsample import sample_bilinear
from maskmill.pipeline.models.torch_settings import exact_settings
from maskmill.pipeline.pictures.decoding import PillowImage, pillow_to_rgb
from maskmill.pipeline.prelabel.labelled_picture import LabelledPicture
from maskmill.pipeline.prelabel.labeller import Labeller, ShownPicture
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import LabelMask, RgbImage, ScoreMap
from maskmill.schemas.errors import ImageFailure, SettingsError
from maskmill.schemas.labels import LabelMap

if TYPE_CHECKING:
    from typing_extensions import Unpack


MODEL_SETTINGS = frozenset(ModelKeywords.__annotations__)

Picture: TypeAlias = "str | PathLike[str] | PillowImage | npt.NDArray[np.uint8]"
"""A path or URI, a Pillow picture, or (H, W, 3) or (H, W) uint8, RGB or grey."""


class Prediction(NamedTuple):
    """``mask`` is (H, W) class indices, ``confidence`` (H, W) float32 in [0, 1].

    Both have the size of the picture after EXIF orientation. The mask is uint8 (uint16 beyond 255
    classes); the confidence is the probability of the most probable class at that very pixel.
    """

    mask: LabelMask
    confidence: ScoreMap


@process_kept()
def load_model(
    name: str | None = None,
    weights: PathOrUri | None = None,
    labels: PathOrUri | None = None,
    *,
    device: str | None = None,
    **settings: "Unpack[ModelKeywords]",
) -> "Model":
    """A model by its name in `maskmill models list`, with its weights in memory.

    Args:
        name: None takes the default of `maskmill prelabel`.
        weights: a file of your own, or None for the model's, which are fetched where needed.
        labels: label map of your weights: a file, or a built-in name.
        device: ``cpu`` or ``cuda``; None takes CUDA where there is one.
        settings: those options of `maskmill prelabel` that say how a network sees a picture, and
            what becomes of its answer.

    Raises:
        SettingsError: no such model, label map or setting, or labels that do not fit.
        ModelError: weights that are missing, or do not fit the network.
        WeightsRefused: a file that would run code.
        TypeError: a setting that there is not.
    """
    of_models = {key: value for key, value in settings.items() if key in MODEL_SETTINGS}
    if len(of_models) < len(settings):
        missing = ", ".join(key for key in settings if key not in MODEL_SETTINGS)
        raise TypeError(f"no setting {missing}; there are: {', '.join(sorted(MODEL_SETTINGS))}")
    given = {"model": name, "weights": weights, "labels": labels, **of_models}
    chosen = PrelabelSettings(source="", out="", **checked(prelabel, given))
    return Model(Labeller(chosen, device=device, group_size=1))


class Model:
    """Labels single pictures as `maskmill prelabel` does. Get one from :func:`load_model`.

    On a CPU the masks are the command's, pixel for pixel; on a GPU, where the command computes
    pictures in groups, a few pixels on boundaries may differ.
    """

    def __init__(self, labeller: Labeller) -> None:
        self._labeller = labeller

    def __repr__(self) -> str:
        classes = self._labeller.segmenter.num_classes
        return f"<{self.name}, {classes} classes, on {self.device}>"

    @property
    def name(self) -> str:
        """As ``maskmill models list`` has it; it says where the weights are random."""
        return self._labeller.choice.title

    @property
    def labels(self) -> LabelMap:
        """What the class indices mean."""
        return self._labeller.choice.labels

    @property
    def device(self) -> str:
        """Where the network is: cpu or cuda."""
        return self._labeller.segmenter.device.type

    @property
    def notes(self) -> tuple[str, ...]:
        """What the commands would say of the weights."""
        return self._labeller.notes

    @process_kept()
    def predict(self, image: Picture) -> Prediction:
        """Mask and confidence of one picture, at its size.

        The caller's PyTorch settings stay as they are. A Pillow picture with an EXIF orientation
        is turned first, as files are.

        Raises:
            ImageFailure: a file that is no picture, damaged, or too large for the memory.
            SettingsError: an array of another shape or dtype.
        """
        labelled = self.label(image)
        fused, size = labelled.fused, (labelled.mask.shape[0], labelled.mask.shape[1])
        if len(fused.answers) == 1:
            only = fused.answers[0]
            confidence = pixel_confidence(only.grid, only.rows, only.cols, size)
            return Prediction(labelled.mask, confidence)
        top1 = sample_bilinear(fused.confidence.top1, fused.rows, fused.cols, size)
        return Prediction(labelled.mask, top1)

    @process_kept()
    def label(self, image: Picture) -> LabelledPicture:
        """Mask, segments and their scores, as the rows of `maskmill prelabel` have them.

        Raises:
            ImageFailure, SettingsError: as :meth:`predict`.
        """
        with exact_settings():
            shown = self._shown(image)
            answers = self._labeller.answer([shown])[0]
        if isinstance(answers, ImageFailure):
            raise answers
        return self._labeller.label(shown, answers)

    def _shown(self, image: Picture) -> ShownPicture:
        labeller = self._labeller
        if isinstance(image, str | PathLike):
            path = fspath(image)
            decoded = labeller.decode(read_bytes(path), path)
            return labeller.show(decoded.pixels, decoded.reduction)
        if isinstance(image, np.ndarray):
            return labeller.show(_checked_array(image))
        if hasattr(image, "getexif"):
            return labeller.show(pillow_to_rgb(image))
        raise SettingsError(f"a picture is a path, a Pillow picture or an array, not {type(image)}")


def _checked_array(array: npt.NDArray[np.uint8]) -> RgbImage:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise SettingsError(
            f"an array of shape {array.shape} and dtype {array.dtype} is no picture: give uint8 of "
            "shape (H, W, 3) or (H, W), values 0 to 255, channels in the order red, green, blue"
        )
    if 0 in array.shape:
        raise SettingsError(f"an array of shape {array.shape} has no pixels")
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    return np.ascontiguousarray(array)
