"""Where the annotations of each picture lie, whatever their order in the document."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.datasets.documents.coco_outline import annotations_at, outline
from maskmill.pipeline.datasets.trees import open_tree


@settings(max_examples=60, deadline=None)
@given(owners=st.lists(st.integers(-3, 5), max_size=30), indent=st.sampled_from([None, 1]))
def test_every_picture_gets_its_annotations_in_their_order(
    owners: list[int], indent: int | None
) -> None:
    annotations = [
        {"id": number, "image_id": owner, "note": "ü" * number}
        for number, owner in enumerate(owners)
    ]
    images = [{"id": owner, "file_name": f"{owner}.jpg", "height": 1, "width": 2}
              for owner in range(-3, 6)]  # fmt: skip
    document = {"annotations": annotations, "images": images, "categories": [{"id": 1}]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coco.json"
        path.write_text(json.dumps(document, indent=indent, ensure_ascii=False), "utf-8")
        tree = open_tree(str(path))
        found = outline(tree, "coco.json")
        assert found.images == {owner: (f"{owner}.jpg", 1, 2) for owner in range(-3, 6)}
        assert found.has_annotations == bool(owners)
        places = found.places()
        for owner in range(-3, 6):
            payload = {"document": "coco.json", "places": places(owner)}
            wanted = [one for one in annotations if one["image_id"] == owner]
            assert list(annotations_at(tree, payload)) == wanted
            before = [None, *owners[:-1]]
            pairs = zip(before, owners, strict=True) if owners else ()
            runs = [now for last, now in pairs if now == owner != last]
            assert len(payload["places"]) == len(runs)
