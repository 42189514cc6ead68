"""CVAT for images 1.1: an XML with mask and polygon shapes per image.

Facts: CVAT's format-cvat.md and its loader. A mask's runs go row by row inside its box; the first
run counts zeros.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.cvat_labels import LABEL_TAGS, DeclaredLabels
from maskmill.pipeline.datasets.documents.heads import heads
from maskmill.pipeline.datasets.documents.xml import parse_xml, xml_elements
from maskmill.pipeline.datasets.guards import document_reader, refused_item
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.left_out import BOXES, KEYPOINTS, SHAPES, Omission
from maskmill.pipeline.datasets.packages import is_one_video, packaged, with_numbers
from maskmill.pipeline.datasets.painting import Region, class_regions, paint
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetWriter,
    FinishedSample,
    FinishedSamples,
    OutputFolder,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.trees import FileTree, documents
from maskmill.pipeline.datasets.vocabulary import index_by_name, known_index
from maskmill.pipeline.masks.declared_size import declared_size
from maskmill.pipeline.masks.polygons import (
    mask_to_polygons,
    numbers_to_ring,
    parts_to_rings,
    rings_to_mask,
)
from maskmill.pipeline.masks.run_lengths import mask_to_points, points_to_mask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap

DRAWN = ("mask", "polygon")
BARE = {"box": BOXES, "points": KEYPOINTS, "skeleton": KEYPOINTS}


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """One pass for names, sizes, byte ranges and labels.

    Labels: those of ``meta`` in their order, then other names that shapes use.

    Raises:
        DocumentFailure: not CVAT's XML, or unsafe.
    """
    items = ItemSpool()
    declared = DeclaredLabels()
    used: set[str] = set()
    for name in documents(tree, ".xml"):
        for element in _scan(tree, name):
            if element.tag == "image":
                items.append(_item(element, name))
            elif element.tag in DRAWN:
                used.add(element.attributes.get("label", ""))
            else:
                declared.take(element, name)
    if not items:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no XML with <image> elements")
    return DatasetIndex(labels=declared.labels(used), items=items)


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Paint the shapes of one image by z_order, then in document order.

    Raises:
        DocumentFailure: an unknown label, runs that do not fill their box, a bad polygon.
    """
    start, length = item.payload["place"]
    text = context.tree.read_range(item.payload["document"], start, length)
    return image_to_sample(text, item.payload["size"], item.key, context)


def image_to_sample(text: bytes, told: tuple[int, int], key: str, context: ReadContext) -> Sample:
    """The same of an ``<image>`` element as it stands in a document, of the told size.

    Raises:
        DocumentFailure: as :func:`read`.
    """
    size_hw = declared_size(*told, name=key)
    is_bare = b"</image" not in text[-8:]  # it closes itself, and has no shapes
    shapes = [] if is_bare else list(parse_xml(text, key))
    by_name = index_by_name(context.labels)
    drawn = [shape for shape in shapes if shape.tag in DRAWN]
    drawn.sort(key=lambda shape: int(shape.get("z_order") or 0))
    numbered = enumerate(drawn, 1)
    regions = [_region(shape, number, by_name, size_hw, key) for number, shape in numbered]
    painted = paint(regions, size_hw, context.labels, name=key)
    others = Counter(
        Omission(BARE[shape.tag]) if shape.tag in BARE else Omission(SHAPES, shape.tag)
        for shape in shapes
        if shape.tag not in DRAWN
    )
    return Sample(
        key=key,
        mask=painted.mask,
        labels=context.labels,
        image=key,
        objects=painted.objects,
        overlap=painted.overlap,
        left_out=others + painted.left_out,
    )


def write_masks(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One mask shape per (class, object): exact."""
    shapes = [_mask_shape(region, sample) for region in class_regions(sample)]
    return Written(
        record="".join(shapes),
        image_path=f"images/{sample.key}",
        segment_ious=(1.0,) * len(shapes),
    )


def write_polygons(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One polygon shape per part, holes bridged, within ``max_loss``."""
    shapes, ious = [], []
    for region in class_regions(sample):
        found = mask_to_polygons(region.inside, context.max_loss)
        ious.append(found.iou)
        for ring in parts_to_rings(found.parts):
            shifted = ring + np.array([region.left, region.top])
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in shifted)
            name = quoteattr(sample.labels.names[region.class_index])
            shapes.append(
                f'<polygon label={name} source="auto" occluded="0" points="{points}" '
                'z_order="0"></polygon>\n'
            )
    return Written(
        record="".join(shapes), image_path=f"images/{sample.key}", segment_ious=tuple(ious)
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``annotations.xml``, or one per split in a folder of its name; several in packages."""
    for split, chosen in samples.by_split():
        stem = f"{split}/annotations" if split else "annotations"
        keeps_numbers = is_one_video(chosen)
        for path, part in packaged(chosen, stem, ".xml", context.limits, _bytes_of):
            with out.open(path) as stream:
                stream.write(_head(context.labels).encode())
                for number, sample in with_numbers(part, keeps_numbers):
                    stream.write(_image(sample, number).encode())
                stream.write(b"</annotations>\n")


def _bytes_of(sample: FinishedSample) -> int:
    return len(_image(sample, 0).encode())


def _scan(tree: FileTree, name: str) -> Iterator[Any]:
    return xml_elements(
        lambda start, length: tree.read_range(name, start, length),
        name,
        "image",
        *LABEL_TAGS,
        *DRAWN,
    )


def _item(element: Any, document: str) -> SampleItem:
    attributes = element.attributes
    key = attributes.get("name", "").replace("\\", "/")
    if not key:
        told = f"{document}: the <image> with id {attributes.get('id')!r} has no name"
        return refused_item("nameless", DocumentFailure(ErrorCode.MALFORMED, told))
    try:
        size = [_integer(attributes, name, key) for name in ("height", "width")]
    except DocumentFailure as failure:
        return refused_item(key, failure)
    split = attributes.get("subset", "")
    place = [element.start, element.length]
    return SampleItem(
        key=key,
        split="" if split == "default" else split,
        payload={"document": document, "size": size, "place": place},
    )


def _region(
    shape: Element, number: int, by_name: dict[str, int], size_hw: tuple[int, int], name: str
) -> Region:
    class_index = known_index(by_name, shape.get("label"), name)
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
        ring = numbers_to_ring([value for pair in pairs for value in pair], name=name)
        return Region(class_index, rings_to_mask([ring], size_hw, name=name), object_id=number)
    left, top, width, height = (
        _integer(dict(shape.attrib), field, name) for field in ("left", "top", "width", "height")
    )
    try:
        runs = [int(run) for run in (shape.get("rle") or "").split(",")]
        corners = [left, top, left + width - 1, top + height - 1]
        inside, left, top = points_to_mask([*runs, *corners], name=name)
    except (ValueError, OverflowError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name}: rle must be integers with commas: {error}"
        ) from error
    return Region(class_index, inside, left, top, number)


def _mask_shape(region: Region, sample: Sample) -> str:
    height, width = region.inside.shape
    points = mask_to_points(region.inside, region.left, region.top)
    runs = ", ".join(map(str, points[:-4]))
    name = quoteattr(sample.labels.names[region.class_index])
    return (
        f'<mask label={name} source="auto" occluded="0" rle="{runs}" left="{region.left}" '
        f'top="{region.top}" width="{width}" height="{height}" z_order="0">'
        "</mask>\n"
    )


def _head(labels: LabelMap) -> str:
    entries = "".join(
        f"<label><name>{escape(entry.name)}</name>"
        f"<color>#{entry.color[0]:02x}{entry.color[1]:02x}{entry.color[2]:02x}</color>"
        "<type>any</type><attributes/></label>\n"
        for entry in labels.classes
        if not entry.is_background
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><labels>\n{entries}</labels></task></meta>\n"
    )


def _image(sample: FinishedSample, number: int) -> str:
    height, width = sample.size_hw
    return (
        f'<image id="{number}" name={quoteattr(sample.key)} width="{width}" '
        f'height="{height}">\n{sample.record}</image>\n'
    )


def _integer(attributes: dict[str, str], field: str, name: str) -> int:
    try:
        return int(attributes[field])
    except (KeyError, ValueError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED,
            f"{name}: {field} must be an integer, not {attributes.get(field)!r}",
        ) from error


def recognise(tree: FileTree) -> str | None:
    """An XML of CVAT with images in it; one with tracks is CVAT for video."""
    for name, head in heads(tree, ".xml"):
        if "<annotations" in head and "<image " in head and "<track " not in head:
            return f"{name} is a CVAT for images document"
    return None


CVAT_IMAGES = DatasetFormat(
    bare_shapes=True,
    reader=document_reader(index, read),
    writer=DatasetWriter(write_masks, finish),
    recogniser=recognise,
    import_command='cvat-cli task import-dataset --format "CVAT 1.1" TASK_ID ',
    package_suffix=".xml",
)
POLYGONS = replace(
    CVAT_IMAGES, writer=DatasetWriter(write_polygons, finish), recogniser=None, polygons=True
)
