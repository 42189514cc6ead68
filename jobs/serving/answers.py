"""What a labelled picture is sent back as: the mask PNG, or a COCO document of one image."""

import io
from collections.abc import Iterable

import pyarrow as pa

from maskmill.pipeline.prelabel.labelled_picture import LabelledPicture
from maskmill.pipeline.prelabel.save import Provenance
from maskmill.pipeline.prelabel.writers.coco_json import write_coco
from maskmill.pipeline.prelabel.writers.mask_file import mask_to_png
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.prelabel import METADATA


def mask_answer(labelled: LabelledPicture, labels: LabelMap, provenance: Provenance) -> bytes:
    """The file that `maskmill prelabel` writes for this picture."""
    return mask_to_png(labelled.mask, labels, text=provenance.text())


def coco_answer(
    labelled: LabelledPicture, labels: LabelMap, provenance: Provenance, *, name: str
) -> bytes:
    """The document that `maskmill prelabel` writes for a folder with this picture alone."""
    height, width = labelled.mask.shape
    row = {
        "image_id": 1,
        "key": name,
        "status": "ok",
        "width": width,
        "height": height,
        "segments": [segment.to_row() for segment in labelled.segments],
    }

    def rows(columns: list[str]) -> Iterable[pa.Table]:
        schema = pa.schema([METADATA.field(column) for column in columns])
        return [pa.Table.from_pylist([{column: row[column] for column in columns}], schema=schema)]

    info = {
        "description": "semantic segmentation of one picture",
        "contributor": f"maskmill {provenance.tool_version}",
        "name": provenance.model,
        "weights_sha256": provenance.weights_sha256,
        "settings_fingerprint": provenance.settings_fingerprint,
    }
    stream = io.BytesIO()
    write_coco(rows, stream, labels, info)
    return stream.getvalue()
