"""Documents with any field replaced or removed: read, or refused by name, never a crash."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.datasets.samples import Sample
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap
from tests.pipeline.datasets.dataset_runs import read_dataset, write_dataset

LABELS = LabelMap.from_names("misshapen", ["background", "cat", "dog"])
MASK = np.array([[0, 1, 1, 0], [0, 1, 2, 2]], np.uint8)
DOCUMENTS = {
    "coco": "annotations/instances_default.json",
    "coco_polygons": "annotations/instances_default.json",
    "coco_uncompressed": "annotations/instances_default.json",
    "panoptic": "annotations/panoptic_default.json",
    "label_studio": "tasks.json",
    "label_studio_polygons": "tasks.json",
    "labelme": "a.json",
    "labelme_polygons": "a.json",
    "supervisely": "ds0/ann/a.jpg.json",
}
JUNK = st.sampled_from(
    [None, -1, 0, 3, 10**12, 1.5, "", "x", "1,2", [], [1], [[1, 2]], ["a"], {}, {"a": 1}, True]
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every field and element of a document."""
    found = [path] if path else []
    items: list[tuple] = []
    if isinstance(value, dict | list):
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def changed(document: Any, path: tuple, junk: Any, *, remove: bool) -> Any:
    copy = json.loads(json.dumps(document))
    parent = copy
    for step in path[:-1]:
        parent = parent[step]
    if remove:
        del parent[path[-1]]
    else:
        parent[path[-1]] = junk
    return copy


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_crash(name: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset([Sample(key="a.jpg", mask=MASK, labels=LABELS, scores={1: 0.5})], root, name)
        path = root / DOCUMENTS[name]
        document = json.loads(path.read_text())
        place = data.draw(st.sampled_from(places(document)))
        other = changed(document, place, data.draw(JUNK), remove=data.draw(st.booleans()))
        path.write_text(json.dumps(other))
        try:
            samples = read_dataset(root, name)
        except (FileFailure, SettingsError) as failure:
            assert str(failure)
        else:
            assert all(sample.mask.ndim == 2 for sample in samples)
