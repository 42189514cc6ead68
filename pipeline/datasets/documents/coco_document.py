"""A COCO document written piece by piece, from committed rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskmill.pipeline.datasets.samples import FinishedSamples, WriteContext
from maskmill.pipeline.datasets.vocabulary import to_json


def document_pieces(
    samples: FinishedSamples, categories: Sequence[Mapping[str, Any]], context: WriteContext
) -> Iterator[bytes]:
    """The COCO document, piece by piece; annotation ids count from 1 in row order.

    A record is a list of annotations, or one annotation that needs no id (panoptic).
    """
    head = {"info": dict(context.info), "licenses": [], "categories": list(categories)}
    yield to_json(head)[:-1] + b',"images":['
    for position, sample in enumerate(samples):
        height, width = sample.size_hw
        entry = {"id": sample.image_id, "file_name": sample.key, "width": width, "height": height}
        yield (b",\n" if position else b"\n") + to_json(entry)
    yield b'\n],"annotations":['
    number = 0
    for sample in samples:
        is_list = isinstance(sample.record, list)
        for annotation in sample.record if is_list else [sample.record]:
            number += 1
            numbered = {"id": number, "image_id": sample.image_id, **annotation}
            if not is_list:
                del numbered["id"]
            yield (b",\n" if number > 1 else b"\n") + to_json(numbered)
    yield b"\n]}\n"
