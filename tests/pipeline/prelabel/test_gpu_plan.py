"""What a run resolves to where its workers have GPUs: blocks, group, record, notes."""

from dataclasses import replace

import pytest

from maskmill.pipeline.models.worker_facts import WorkerFacts
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.plan import GPU_BLOCK_IMAGES, GPU_GROUP, GPU_GROUP_OF_SHAPES
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.schemas.errors import SettingsError
from tests.sick_images import write_small_pictures

PICTURES = 2 * GPU_BLOCK_IMAGES + 5
FACTS = WorkerFacts(
    device="cuda",
    precision="fp16",
    torch_version="2.11.0",
    num_classes=21,
    gpu="Some GPU",
    driver="13.2",
    fitting_group=GPU_GROUP_OF_SHAPES,
    worker="here:1",
)


class Answering:
    """Workers that say what they are told to."""

    elsewhere = False

    def __init__(self, *answers: WorkerFacts) -> None:
        self.answers = answers
        self.has_gpu = answers[0].device == "cuda"

    def ask_each(self, function, *arguments):
        assert self.has_gpu
        return list(self.answers)

    def ask(self, function, *arguments, on_gpu=False):
        return self.answers[0]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "in"
    write_small_pictures(folder, PICTURES, seed=3)
    return folder


def resolved(source, out, *answers, **settings):
    asked = {"model": "deeplabv3_mobilenet_v3_large", "untrained": True, **settings}
    job = PrelabelJob(PrelabelSettings(source=str(source), out=str(out / "out"), **asked))
    return job.resolve(job.plan(None), Answering(*answers))


def test_blocks_are_larger_on_gpus_and_only_there(source, tmp_path):
    plan = resolved(source, tmp_path, FACTS)
    assert plan.sizes == [GPU_BLOCK_IMAGES, GPU_BLOCK_IMAGES, 5]
    assert plan.identity["block_images"] == GPU_BLOCK_IMAGES
    plan.put_manifest(
        job_layout := PrelabelJob(PrelabelSettings(source="", out=str(tmp_path))).layout
    )
    assert job_layout.read_table(job_layout.manifest)["block"][-1].as_py() == 2
    on_cores = replace(FACTS, device="cpu", gpu=None, fitting_group=None)
    assert resolved(source, tmp_path, on_cores).sizes[0] == 32
    assert resolved(source, tmp_path, FACTS, block_images=50).sizes[0] == 50
    assert resolved(source, tmp_path, FACTS, flip=True).sizes[0] == GPU_BLOCK_IMAGES // 2


def test_the_identity_names_the_gpu_and_the_group_that_was_asked_for(source, tmp_path):
    small = replace(FACTS, fitting_group=2, driver="12.8")
    plan = resolved(source, tmp_path, FACTS, small, batch_size=8)
    assert (plan.identity["gpu"], plan.identity["group_size"]) == ("Some GPU", 8)
    assert "driver" not in plan.identity and "fitting_group" not in plan.identity
    told = {"gpu": "Some GPU", "driver": "12.8, 13.2", "fitting_group": 2, "graphs": False}
    assert plan.facts["workers"] == told
    (note,) = plan.notes
    assert note.startswith("the GPU's memory holds 2 pictures at once, not 8")
    assert "--batch-size 2 in a new output folder" in note
    assert resolved(source, tmp_path, FACTS).notes == ()


def test_the_network_is_given_to_workers_with_graphs_where_all_can_replay_them(source, tmp_path):
    """They change no bit, so a run begun without goes on with them."""
    able = replace(FACTS, graphs=True)
    found = {}
    for name, answers in {"all": (able, able), "one": (able, FACTS)}.items():
        plan = resolved(source, tmp_path, *answers)
        job = PrelabelJob(PrelabelSettings(source=str(source), out=str(tmp_path / "out")))
        _, predict, _ = job.stages(plan, "session")
        found[name] = (predict.open.keywords["settings"].graphs, plan.facts["workers"]["graphs"])
        assert plan.identity == resolved(source, tmp_path, FACTS).identity
    assert found == {"all": (True, True), "one": (False, False)}


def test_workers_with_different_gpus_are_refused(source, tmp_path):
    with pytest.raises(SettingsError, match=r"Some GPU on here:1, Another .* --accelerator-type"):
        resolved(source, tmp_path, FACTS, replace(FACTS, gpu="Another", worker="there:1"))


@pytest.mark.parametrize(
    ("model", "group"),
    [
        ("deeplabv3_mobilenetv2_x05_voc", GPU_GROUP),
        ("deeplabv3plus_resnet50", GPU_GROUP),
        ("deeplabv3_mobilenet_v3_large", GPU_GROUP_OF_SHAPES),
    ],
)
def test_groups_are_small_where_pictures_come_in_many_shapes(source, tmp_path, model, group):
    plan = resolved(source, tmp_path, FACTS, model=model)
    assert plan.identity["group_size"] == group
    on_cores = replace(FACTS, device="cpu", gpu=None, fitting_group=None)
    assert resolved(source, tmp_path, on_cores, model=model).identity["group_size"] == 1
