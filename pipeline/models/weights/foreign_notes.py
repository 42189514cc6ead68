"""What has to be assumed of another project's checkpoint, in sentences for the user."""

from collections.abc import Mapping
from typing import Any

from maskmill.pipeline.models.network_options import NetworkOptions
from maskmill.pipeline.models.weights.beside import Told
from maskmill.pipeline.models.weights.layout_rules import FIXED_STRIDES, ForeignLayout


def assumptions(
    layout: ForeignLayout, options: Mapping[str, Any], encoder: str, output_stride: int | None,
    told: Told, wanted: NetworkOptions,
) -> list[str]:  # fmt: skip
    """What weights do not tell, what was taken, and how to say otherwise: sentences."""
    stride = FIXED_STRIDES.get(encoder, options["output_stride"])
    notes = []
    if output_stride is None and told.output_stride is None and encoder not in FIXED_STRIDES:
        other = 8 if stride == 16 else 16
        notes.append(
            f"weights do not tell their output stride and rates: {stride} is assumed, as is usual "
            f"for {layout.title}; --output-stride {other} if it was trained at {other}"
        )
    if told.source and (told.output_stride or told.rates):
        notes.append(f"output stride and rates are those that {told.source} tells")
    if told.rates is None and wanted.rates is None:
        rates = options.get("aspp_rates") or tuple(rate * 16 // stride for rate in (6, 12, 18))
        said = ",".join(map(str, rates))
        notes.append(
            f"atrous rates {said} are assumed, the project's own at that stride; "
            "--network-option rates=A,B,C if it was trained with others"
        )
    last = options.get("last_rates")
    if last is not None and told.last_rates is None and wanted.last_rates is None:
        said = ",".join(map(str, last))
        notes.append(
            f"the encoder's last stage is taken to have the project's rates {said} (at output "
            "stride 16); --network-option last_rates=A,B,C if not"
        )
    return [*notes, *_pooling(options, told, wanted), *_norms(layout, options, told, wanted)]


def _pooling(options: Mapping[str, Any], told: Told, wanted: NetworkOptions) -> list[str]:
    window = options.get("pool_window")
    if window is None or (told.pool_window or wanted.pool_window) is not None:
        return []
    return [
        f"image pooling is taken to average {window[0]}x{window[1]} features at once, as the "
        "project's crops of 512x1024 have; --network-option pool_window=ROWS,COLUMNS for another "
        "crop (its height and width over the output stride), pool_window=0,0 if none was cut"
    ]


def _norms(
    layout: ForeignLayout, options: Mapping[str, Any], told: Told, wanted: NetworkOptions
) -> list[str]:
    if not layout.group_norm:
        return []
    notes = []
    if options.get("norm_groups") is not None and wanted.norm_groups is None:
        notes.append(
            f"group norm of {options['norm_groups']} groups is assumed, as its paper has; "
            "--network-option norm_groups=N if it was trained with another number"
        )
    if told.weight_std is None and wanted.weight_std is None:
        grouped = options.get("norm_groups") is not None
        notes.append(
            "standardised weights are assumed, which go with group norm in this project; "
            "--network-option weight_std=false if it was trained without"
            if grouped
            else "weights are taken as they are, as is usual with batch norm in this project; "
            "--network-option weight_std=true if it was trained with --weight_std"
        )
    return notes
