"""What `convert` was asked for in words, files and paths, as a ConversionRequest."""

from typing import Any

from maskmill.pipeline.convert.conversion import ConversionRequest
from maskmill.pipeline.convert.splits import parse_shares
from maskmill.pipeline.datasets.class_mapping import told_rules
from maskmill.pipeline.datasets.package_limits import PackageLimits
from maskmill.pipeline.storage.filesystems import local_path
from maskmill.schemas.label_files import load_label_map


def conversion_request(
    *,
    source: str,
    labels: str | None = None,
    map_file: str | None = None,
    images: str | None = None,
    only: str | None = None,
    split: str | None = None,
    max_package_images: int | None = None,
    max_package_mb: float | None = None,
    **others: Any,
) -> ConversionRequest:
    """The command's options that decide the output, by their names, their files read.

    Raises:
        SettingsError: a label file, a map or shares that cannot be read.
    """
    return ConversionRequest(
        source=local_path(source) or source,  # absolute: workers may stand in another folder
        images=(local_path(images) or images) if images else None,
        only=(local_path(only) or only) if only else None,
        labels=load_label_map(labels) if labels else None,
        rules=told_rules(map_file) if map_file else None,
        shares=parse_shares(split) if split else {},
        limits=PackageLimits(
            images=max_package_images,
            bytes=None if max_package_mb is None else round(max_package_mb * 1e6),
        ),
        **others,
    )
