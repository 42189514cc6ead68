"""MASK_FORMATS: how class indices travel in one picture. A file and a line to add one."""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Literal

from maskmill.pipeline.masks.picture import MAX_PIXELS, MaskPicture, open_picture
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.labels import LabelMap

Unknown = Literal["error", "ignore", "nearest"]


def _say_nothing(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """How to read a mask whose pixels are not all what the label map says.

    ``unknown``: a value or colour outside the map is an error, becomes ignore, or (colours only)
    the nearest colour of the map, if that is within ``max_distance`` (Euclidean, in RGB steps) and
    ignore beyond. ``binary``: grey levels 0 and 255 under a map of two classes are these classes
    where the kind of file is detected; else 255 is ignore. ``note`` is called with a sentence for
    everything that was decided that way, ``lost`` with the number of pixels that became ignore.
    """

    unknown: Unknown = "error"
    max_distance: float = 64.0
    binary: bool = True
    max_pixels: int = MAX_PIXELS
    note: Callable[[str], None] = _say_nothing
    lost: Callable[[int], None] = _say_nothing


Decoder = Callable[[MaskPicture, LabelMap, DecodeOptions], LabelMask]
"""An opened picture -> (H, W) class indices. Raises MaskFailure."""

Encoder = Callable[[LabelMask, LabelMap], bytes]
"""(H, W) class indices -> bytes of a picture, the same for the same mask. Raises MaskFailure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFormat:
    """One way to store class indices in a picture.

    ``decoder`` and ``encoder`` are ``module:function``, imported when used. ``max_classes`` and
    ``holds_ignore`` say what survives a round trip. ``by_value``: the picture stores the class
    index itself, so that an audit can count values that are no class; other ones store colours or
    levels that stand for it.
    """

    name: str
    extension: str
    decoder: str
    encoder: str
    description: str
    max_classes: int
    holds_ignore: bool = True
    by_value: bool = True

    def decode(
        self,
        data: bytes,
        labels: LabelMap,
        *,
        name: str = "mask",
        options: DecodeOptions | None = None,
    ) -> LabelMask:
        """(H, W) mask of ``labels.mask_dtype`` from the bytes of a picture.

        Raises:
            MaskFailure: not a picture, too large, lossy, of a wrong mode, or with values or
                colours outside the label map; the message names the file and the first of them.
        """
        options = options or DecodeOptions()
        source = open_picture(data, name=name, max_pixels=options.max_pixels)
        return self.decode_picture(source, labels, options)

    def decode_picture(
        self, source: MaskPicture, labels: LabelMap, options: DecodeOptions
    ) -> LabelMask:
        """:meth:`decode` of a picture that is already open."""
        decoder: Decoder = resolve_name(self.decoder)
        return decoder(source, labels, options)

    def encode(self, mask: LabelMask, labels: LabelMap) -> bytes:
        """Bytes of a picture; the same mask gives the same bytes.

        Raises:
            MaskFailure: CANNOT_HOLD where the format cannot tell the mask's values apart;
                UNKNOWN_VALUE where the mask holds a value that is no class.
        """
        encoder: Encoder = resolve_name(self.encoder)
        return encoder(mask, labels)


MASK_FORMATS: dict[str, MaskFormat] = {
    "indexed": MaskFormat(
        name="indexed",
        extension=".png",
        decoder="maskmill.pipeline.masks.indexed:decode",
        encoder="maskmill.pipeline.masks.indexed:encode",
        description="grey PNG of class indices, 16-bit beyond 255 classes",
        max_classes=65535,
    ),
    "indexed16": MaskFormat(
        name="indexed16",
        extension=".png",
        decoder="maskmill.pipeline.masks.indexed:decode",
        encoder="maskmill.pipeline.masks.indexed:encode_16",
        description="16-bit grey PNG of class indices, ignore = 65535",
        max_classes=65535,
    ),
    "palette": MaskFormat(
        name="palette",
        extension=".png",
        decoder="maskmill.pipeline.masks.palette:decode",
        encoder="maskmill.pipeline.masks.palette:encode",
        description="palette PNG of class indices in the label map's colours",
        max_classes=255,
    ),
    "palette_voc": MaskFormat(
        name="palette_voc",
        extension=".png",
        decoder="maskmill.pipeline.masks.palette:decode",
        encoder="maskmill.pipeline.masks.palette:encode_voc",
        description="palette PNG of class indices in Pascal VOC's colours",
        max_classes=255,
    ),
    "color": MaskFormat(
        name="color",
        extension=".png",
        decoder="maskmill.pipeline.masks.color:decode",
        encoder="maskmill.pipeline.masks.color:encode",
        description="RGB PNG in the label map's colours, ignore = 224,224,192",
        max_classes=65535,
        by_value=False,
    ),
    "ppm": MaskFormat(
        name="ppm",
        extension=".ppm",
        decoder="maskmill.pipeline.masks.color:decode",
        encoder="maskmill.pipeline.masks.color:encode_ppm",
        description="PPM in the label map's colours, as LFW Parts has it",
        max_classes=65535,
        by_value=False,
    ),
    "binary": MaskFormat(
        name="binary",
        extension=".png",
        decoder="maskmill.pipeline.masks.binary:decode",
        encoder="maskmill.pipeline.masks.binary:encode",
        description="grey PNG, 0 = first class, 255 = second class",
        max_classes=2,
        holds_ignore=False,
        by_value=False,
    ),
    "binary01": MaskFormat(
        name="binary01",
        extension=".png",
        decoder="maskmill.pipeline.masks.binary:decode_01",
        encoder="maskmill.pipeline.masks.binary:encode_01",
        description="grey PNG, 0 = first class, 1 = second class, 255 = ignore",
        max_classes=2,
        by_value=False,
    ),
    "tiff": MaskFormat(
        name="tiff",
        extension=".tif",
        decoder="maskmill.pipeline.masks.indexed:decode",
        encoder="maskmill.pipeline.masks.tiff:encode",
        description="TIFF of class indices, 8 or 16 bit, deflate",
        max_classes=65535,
    ),
    "bmp": MaskFormat(
        name="bmp",
        extension=".bmp",
        decoder="maskmill.pipeline.masks.palette:decode",
        encoder="maskmill.pipeline.masks.palette:encode_bmp",
        description="8-bit BMP of class indices in the label map's colours",
        max_classes=255,
    ),
}
