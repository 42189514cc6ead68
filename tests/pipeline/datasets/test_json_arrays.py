"""Arrays of a large JSON document, element by element, equal to json.loads at any chunk size."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.datasets.documents import json_arrays as module
from maskmill.pipeline.datasets.documents.json_arrays import (
    BETWEEN,
    elements_outside,
    placed_elements,
)
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.schemas.errors import DocumentFailure
from maskmill.schemas.json_depth import DepthGauge

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text('{}[]",\\ ü')
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
OBJECTS = st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=4)


def saved(folder: str | Path, data: bytes) -> Any:
    (Path(folder) / "doc.json").write_bytes(data)
    return open_tree(str(folder))


@settings(max_examples=60, deadline=None)
@given(
    before=JSON, wanted=OBJECTS, after=OBJECTS, escaped=st.booleans(),
    indent=st.sampled_from([None, 0, 3]), chunk=st.integers(1, 40), mark=st.booleans(),
)  # fmt: skip
def test_equal_to_json_loads(
    before: Any, wanted: list, after: list, escaped: bool, indent: int | None, chunk: int,
    mark: bool,
) -> None:  # fmt: skip
    document = {"before": before, "wanted": wanted, "after": after}
    data = b"\xef\xbb\xbf" * mark
    data += json.dumps(document, ensure_ascii=escaped, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(module, "CHUNK", chunk)
        tree = saved(folder, data)
        found = list(placed_elements(tree, "doc.json", "wanted"))
        assert [one.value for one in found] == wanted
        for one in found:
            text = data[one.start : one.start + one.length].strip(BETWEEN)
            assert json.loads(text) == one.value
        hole = (found[0].start, found[-1].start + found[-1].length) if found else (0, 0)
        assert list(elements_outside(tree, "doc.json", "after.item", hole)) == after
        assert list(elements_outside(tree, "doc.json", "wanted.item", hole)) == []


def test_a_list_at_the_top(tmp_path: Path) -> None:
    tree = saved(tmp_path, b'[{"a": 1}, {"b": [{}]}]')
    values = [one.value for one in placed_elements(tree, "doc.json", "")]
    assert values == [{"a": 1}, {"b": [{}]}]


BROKEN = {
    "empty": b"", "no JSON": b"nonsense", "cut": b'{"a": [1, 2', "no comma": b'{"a": [1 2]}',
    "no value": b'{"a": {"b"}}', "open": b'{"a": 1', "no colon": b'{"a" 1}',
    "no UTF-8": b'{"a": ["\xff\xfe"]}', "open string": b'{"a": ["unfinished',
    "NaN": b'{"a": [{"score": NaN}]}', "deep": b"[" * 100_000,
    "deep and whole": b'{"a": [' + b'{"a": [' * 100_000 + b"]}" * 100_001,
    "deep behind strings": b'{"b": "[[]]{\\"", "a": ' + b"[" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_documents_get_one_sentence(tmp_path: Path, kind: str) -> None:
    tree = saved(tmp_path, BROKEN[kind])
    for array in ("a", ""):
        with pytest.raises(DocumentFailure, match=r"^doc\.json is not valid JSON: .+$") as caught:
            list(placed_elements(tree, "doc.json", array))
        assert "\n" not in str(caught.value)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (1 if isinstance(value, dict | list) else 0) + max(map(depth, inner), default=0)


@settings(max_examples=150, deadline=None)
@given(document=JSON, chunk=st.integers(1, 30), escaped=st.booleans())
def test_brackets_in_strings_are_no_levels(document: Any, chunk: int, escaped: bool) -> None:
    data = json.dumps(document, ensure_ascii=escaped).encode()
    deepest = depth(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maskmill.schemas.json_depth.DEEPEST", deepest)
        feed_all(data, chunk)
        patch.setattr("maskmill.schemas.json_depth.DEEPEST", deepest - 1)
        if deepest:
            with pytest.raises(DocumentFailure, match="nested too deeply"):
                feed_all(data, chunk)


def feed_all(data: bytes, chunk: int) -> None:
    gauge = DepthGauge("doc.json")
    for start in range(0, len(data), chunk):
        gauge.feed(data[start : start + chunk])


MEMORY = """
import sys
from pathlib import Path
from maskmill.pipeline.datasets.documents.coco_outline import outline
from maskmill.pipeline.datasets.trees import open_tree
found = outline(open_tree(sys.argv[1]), "doc.json")
assert len(found.images) == 10
status = Path("/proc/self/status").read_text()  # ru_maxrss would start with the parent's
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of one process")
def test_memory_is_flat_on_a_large_document(tmp_path: Path) -> None:
    """Sixty megabytes of polygons cost no more than one."""
    entry = {"image_id": 1, "category_id": 1, "segmentation": [[1.5] * 2000], "id": 7}
    text = json.dumps(entry).encode()
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 9, "width": 9} for n in range(10)]
    peaks = []
    for count in (100, 6000):
        head = json.dumps({"images": images, "categories": []}).encode()[:-1]
        tree = saved(tmp_path, head + b', "annotations": [' + b",".join([text] * count) + b"]}")
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, tree.uri], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 20 * 1024, peaks
