"""Everything that can be looked at is looked at: each data set that `convert` reads and writes."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run as perform
from maskmill.pipeline.audit.job import AuditJob
from maskmill.pipeline.audit.plan import AuditOptions
from maskmill.pipeline.datasets.registry import (
    DATASET_FORMATS,
    readable_formats,
    writable_formats,
)
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.pictures.names import stem_of
from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.opening import Opening, open_subject
from maskmill.pipeline.review.query import Query
from maskmill.pipeline.review.renditions import Renditions
from maskmill.pipeline.review.slim_index import SlimIndex
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord, load_record
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap
from tests.jobs.labelled_run import labelled_run
from tests.pipeline.datasets.dataset_runs import write_dataset

LABELS = LabelMap.from_names("viewed", ["background", "cat", "dog"])


def samples(classes):
    """Two masks with a square each, of the highest class that the format has room for."""
    labels = LABELS if classes > 2 else LabelMap.from_names("viewed", ["background", "cat"])
    made = []
    for number, key in enumerate(("a.jpg", "sub/b.jpg")):
        mask = np.zeros((24, 32 + number), np.uint8)
        mask[4:12, 5:15] = len(labels.classes) - 1
        made.append(Sample(key=key, mask=mask, labels=labels, image=key))
    return made, labels


def seen(root, name, label_file):
    """{stem of the key: mask} as the view shows them; every thumbnail is drawn."""
    archives = sorted(root.glob("*.zip"))
    place = str(archives[0] if archives else root)
    opening = Opening(format=name, labels=str(label_file))
    subject = open_subject(place, opening)
    index = SlimIndex(subject, None)
    subject.look()
    index.refresh()
    rows = gallery.page(index, Query(sort="key"), 0, 10)
    renditions = Renditions(subject)
    found = {}
    for row in rows:
        assert row["status"] == "ok", row
        item = gallery.item(index, row["n"])
        assert renditions.thumbnail(item, 32).startswith(b"\xff\xd8")
        found[stem_of(row["key"])] = subject.mask(item)
    index.close()
    return found


@pytest.mark.parametrize("name", [one for one in readable_formats() if one in writable_formats()])
def test_a_data_set_of_every_format_is_seen(name, tmp_path):
    made, labels = samples(DATASET_FORMATS[name].max_classes)
    label_file = tmp_path / "labels.json"
    label_file.write_text(json.dumps(labels.to_dict()))
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(made, Path(folder), name, max_loss=1.0, pictures=True)
        found = seen(Path(folder), name, label_file)
    assert sorted(found) == sorted(stem_of(one.key) for one in made)
    for one in made:
        same = (found[stem_of(one.key)] == one.mask).mean()
        assert same == 1.0 if DATASET_FORMATS[name].exact else same > 0.9


def test_an_audit_that_was_interrupted_shows_what_it_has_come_to(tmp_path):
    """The folder as a kill leaves it: rows of some blocks, no document, state "running"."""
    run = labelled_run(tmp_path, 8)
    options = AuditOptions(predictions=str(run), truth=str(run), block_pairs=2)
    job = AuditJob(options=options, out=str(tmp_path / "audit"))
    perform(job, RunOptions(engine="local"))
    whole = job.layout.local("")
    for name in ("audit.json", "report.html", "audit.md", "regions.parquet"):
        (whole / name).unlink()
    for block in (1, 3):
        (whole / job.layout.block_path(block)).unlink()
    record = load_record(job.layout)
    record.state = "running"
    record.save(job.layout)
    subject = open_subject(str(whole))
    index = SlimIndex(subject, None)
    index.refresh()
    assert subject.standing().state == "running" and subject.standing().inputs == 8
    rows = gallery.page(index, Query(), 0, 10)
    assert len(rows) == 4 and all(row["miou"] == 1 for row in rows)
    item = gallery.item(index, rows[0]["n"])
    np.testing.assert_array_equal(subject.mask(item), subject.truth(item))
    assert Renditions(subject).thumbnail(item, 32)
    beside = open_subject(str(run), Opening(audit=str(whole)))
    index = SlimIndex(beside, None)
    index.refresh()
    assert len(beside.scores()) == 4
    item = gallery.item(index, gallery.number_of(index, min(beside.scores())))
    np.testing.assert_array_equal(beside.mask(item), beside.truth(item))
    with pytest.raises(SettingsError, match="holds no audit"):
        open_subject(str(run), Opening(audit=str(tmp_path / "photos")))


def test_a_fine_tune_of_before_is_refused_with_what_to_look_at(tmp_path):
    record = RunRecord(command="finetune", identity={}, label_map=LABELS.to_dict())
    record.save(RunLayout(str(tmp_path)))
    with pytest.raises(SettingsError, match=r"earlier version.*--model .*/model"):
        open_subject(str(tmp_path))
