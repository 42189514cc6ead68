"""COCO results: a plain list of predictions, compressed RLE only (write).

Facts: COCO results format. ``image_id`` is the source's own where it has numbers, so that results
for a COCO dataset fit its annotations.
"""

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.painting import object_segments
from maskmill.pipeline.datasets.samples import (
    DatasetWriter,
    FinishedSamples,
    OutputFolder,
    Sample,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.vocabulary import to_json


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One prediction per segment; a segment without a score counts as certain."""
    image_id = target.image_id if sample.source_id is None else sample.source_id
    record = [
        {
            "image_id": image_id,
            "category_id": segment.category_id,
            "segmentation": {"size": list(sample.size_hw), "counts": segment.counts},
            "bbox": list(segment.bbox),
            "score": 1.0 if segment.score is None else round(segment.score, 6),
        }
        for segment in object_segments(sample)
    ]
    return Written(
        record=record, image_path=f"images/{sample.key}", segment_ious=(1.0,) * len(record)
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``results.json``, or ``results_<split>.json``."""
    for split, chosen in samples.by_split():
        with out.open(f"results_{split}.json" if split else "results.json") as stream:
            before = b"[\n"
            for sample in chosen:
                for entry in sample.record:
                    stream.write(before + to_json(entry))
                    before = b",\n"
            stream.write(b"\n]\n" if before == b",\n" else b"[]\n")


COCO_RESULTS = DatasetFormat(writer=DatasetWriter(write, finish))
