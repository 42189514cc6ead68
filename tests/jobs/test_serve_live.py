"""The ML backend under the Label Studio of the registry, on loopback. `make label-studio` first."""

from pathlib import Path

import numpy as np
import pytest

from maskmill.pipeline.datasets.documents.label_studio_brush import brush_to_mask
from maskmill.pipeline.datasets.documents.label_studio_config import labeling_config
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.prelabel.labeller import Labeller
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.schemas.labels import LabelMap
from tests.jobs.served import served
from tests.label_studio_server import PROGRAM, TOKEN, label_studio
from tests.pipeline.prelabel.pointwise_network import pointwise_spec
from tests.sick_images import write_small_pictures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs .venv-label-studio: make label-studio"),
]
LABELS = LabelMap.from_names("five", ["ground", "cat", "dog", "car", "tree"])


def test_label_studio_keeps_the_masks_it_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "pointwise", pointwise_spec(LABELS))
    network = Labeller(
        PrelabelSettings(source="", out="", model="pointwise", untrained=True), device="cpu"
    )
    write_small_pictures(tmp_path / "photos", 3, seed=8)
    paths = sorted(path for path in (tmp_path / "photos").rglob("*") if path.is_file())
    config = labeling_config(LABELS, "brushlabels")
    with (
        label_studio(tmp_path / "server") as studio,
        served(network, studio.url, token=lambda: TOKEN) as one,
    ):
        project = studio.api(
            "POST", "/api/projects", json={"title": "served", "label_config": config}
        )["id"]
        for path in paths:
            with path.open("rb") as stream:
                studio.api("POST", f"/api/projects/{project}/import", files={"file": stream})
        backend = {"url": one.url, "project": project, "title": "maskmill"}
        connected = studio.api("POST", "/api/ml", json=backend)
        assert (connected["state"], connected["model_version"]) == ("CO", one.version)
        everything = {"selectedItems": {"all": True, "excluded": []}}
        action = {"id": "retrieve_tasks_predictions", "project": project}
        studio.api("POST", "/api/dm/actions", params=action, json=everything)
        tasks = studio.tasks(project)
        assert len(tasks) == len(paths)
        for task in tasks:
            data = studio.bytes_of(task["data"]["image"])
            shown = network.show(decode_image(data, name="picture").pixels)
            wanted = network.label(shown, network.answer([shown])[0]).mask
            (prediction,) = studio.api("GET", "/api/predictions", params={"task": task["id"]})
            assert prediction["model_version"] == one.version
            drawn = np.zeros_like(wanted)
            for region in prediction["result"]:
                inside = brush_to_mask(region["value"]["rle"], shown.size_hw, name="region")
                drawn[inside] = LABELS.index_of(region["value"]["brushlabels"][0])
            assert np.array_equal(drawn, wanted)
