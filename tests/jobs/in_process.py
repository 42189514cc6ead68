"""A whole `prelabel` run without Ray: the same operators, called one after another."""

from pathlib import Path

import torch

from maskmill.jobs.prelabel_config import PrelabelConfig
from maskmill.jobs.prelabel_operators import Pool, build_graph, full_identity
from maskmill.jobs.prelabel_plan import make_plan
from maskmill.jobs.prelabel_record import close_record, open_record
from maskmill.pipeline.models.worker_facts import WorkerFacts
from maskmill.pipeline.prelabel.commit import CommitRows
from maskmill.pipeline.prelabel.predict import PredictMasks
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.pending import count_ledger, pending_work

FACTS = WorkerFacts(device="cpu", precision="fp32", torch_version=torch.__version__, num_classes=21)


def run_in_process(source: Path, out: Path, **settings: object) -> RunLayout:
    """Label ``source`` with random weights, block after block, and finish the run."""
    config = PrelabelConfig(
        **{
            "source": str(source),
            "out": str(out),
            "model": "deeplabv3_mobilenet_v3_large",
            "untrained": True,
            "image_size": 65,
            "block_images": 4,
            **settings,
        }
    )
    layout = RunLayout(config.out)
    plan = make_plan(config, layout)
    identity = full_identity(plan, FACTS)
    record = open_record(plan, identity)
    graph = build_graph(plan, identity, Pool(workers=1, gpus_per_worker=0), "one session")
    predict = PredictMasks(layout=layout, session="one session", settings=graph.predict)
    commit = CommitRows(layout, graph.save)
    work = pending_work(layout, plan.work.manifest, retry_failed=config.retry_failed)
    for row in range(work.num_rows):
        commit(predict(graph.load(work.slice(row, 1))))
    close_record(plan, record, count_ledger(layout, plan.work.manifest.num_rows), session={})
    return layout
