"""A model's spec as the options want it, or a sentence why it cannot be so."""

from dataclasses import replace

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.views.plan import ViewSettings, network_size
from maskmill.pipeline.views.preprocessing import MIN_SIZE
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap


def check_scales(settings: ViewSettings, spec: ModelSpec, image_size: int | None) -> None:
    """Refuse a scale at which the network's input would be too small.

    Raises:
        SettingsError: naming the scale and the size.
    """
    rule, least = spec.preprocessing, settings.scales[0]
    if rule.resize == "none" and image_size is None:
        return
    size = network_size(
        rule, least, image_size=image_size, alignment=spec.alignment, size_hw=(1, 1)
    )
    if size is not None and size < MIN_SIZE:
        raise SettingsError(
            f"at scale {least:g} the network's input would have {size} pixels, too few for these "
            f"networks; leave that scale out of --scales, or use a larger --image-size"
        )


def check_threshold(threshold: float | None, spec: ModelSpec, num_classes: int) -> None:
    """Refuse a threshold between other than two classes.

    Raises:
        SettingsError: naming model and number of classes.
    """
    if threshold is not None and num_classes != 2:
        raise SettingsError(
            f"--threshold decides between background and one class, and the label map of "
            f"{spec.name} has {num_classes}; leave it out, or give a map of two with --labels"
        )


def at_output_stride(spec: ModelSpec, output_stride: int | None) -> ModelSpec:
    """The same model, with the same weights, at another output stride; None keeps it.

    Raises:
        SettingsError: the model's network exists at one output stride only.
    """
    options = dict(spec.options)
    if output_stride is None:
        return spec
    if output_stride == spec.output_stride:
        return replace(spec, stride_asked=True)
    if "output_stride" not in options:
        raise SettingsError(
            f"{spec.name} has output stride {spec.output_stride} and no other: leave "
            "--output-stride out, or choose another model"
        )
    # A decoder's grid stays where it is, at the stride of its low-level features.
    grid_stride = output_stride if spec.grid_stride == spec.output_stride else spec.grid_stride
    options["output_stride"] = output_stride
    return replace(
        spec,
        options=tuple(options.items()),
        output_stride=output_stride,
        grid_stride=grid_stride,
        stride_asked=True,
    )


def check_class_count(found: int, labels: LabelMap) -> None:
    """Refuse a label map that does not fit a network of ``found`` output channels.

    Raises:
        SettingsError: naming both numbers.
    """
    wanted = len(labels.classes)
    fitting = (1, 2) if wanted == 2 else (wanted,)  # one channel says "is it or not" of two
    if found not in fitting or wanted == 1:
        raise SettingsError(
            f"the network has {found} classes and label map {labels.name!r} has {wanted}: give the "
            "right one with --labels (for one class, background and that class)"
        )
