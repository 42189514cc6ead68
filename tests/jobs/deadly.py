"""Jobs that end their process whenever a stage touches one certain image or pair."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import ray

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.pipeline.audit.job import AuditJob
from maskmill.pipeline.audit.operator import AuditPairs
from maskmill.pipeline.audit.plan import AuditOptions
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.load import LoadImages
from maskmill.pipeline.prelabel.predict import PredictMasks
from maskmill.pipeline.prelabel.save import SavePrelabels
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.stages import Opened, Stage
from tests.jobs.in_process import SMALL

DEADLY = "photo_00013"


def die_of(key: str) -> None:
    if DEADLY in key:
        os.kill(os.getpid(), signal.SIGKILL)


class DeadlyLoad(LoadImages):
    def load(self, item, read):
        die_of(item.key)
        return super().load(item, read)


class DeadlyPredict(PredictMasks):
    def predict(self, items):
        for item in items:
            die_of(item.key)
        return super().predict(items)


class DeadlySave(SavePrelabels):
    def save(self, item, kept):
        die_of(item.key)
        return super().save(item, kept)


class DeadlyPairs(AuditPairs):
    def of_block(self):
        work = super().of_block()

        def deadly(pair):
            die_of(pair["key"])
            return work(pair)

        return deadly


def as_kind(kind: type, value: Any) -> Any:
    """The same fields in an object of a kind that kills."""
    return kind(**{one.name: getattr(value, one.name) for one in fields(value)})


@dataclass(frozen=True)
class DeadlyPrelabel(PrelabelJob):
    where: str = "load"

    def stages(self, plan, session) -> Sequence[Stage]:
        load, predict, save = super().stages(plan, session)
        if self.where == "load":
            load = replace(load, open=Opened(as_kind(DeadlyLoad, load.open.operator)))
        if self.where == "predict":
            predict = replace(predict, open=partial(DeadlyPredict, **predict.open.keywords))
        if self.where == "save":
            commit = save.open.operator
            commit = replace(commit, save=as_kind(DeadlySave, commit.save))
            save = replace(save, open=Opened(commit))
        return load, predict, save


@dataclass(frozen=True, kw_only=True)
class DeadlyAudit(AuditJob):
    def stages(self, plan, session) -> Sequence[Stage]:
        (stage,) = super().stages(plan, session)
        commit = stage.open.operator
        return (
            replace(stage, open=Opened(replace(commit, work=as_kind(DeadlyPairs, commit.work)))),
        )


def main() -> None:
    """Run such a job: WHERE ENGINE SOURCE OUT; WHERE is a stage of prelabel, or audit."""
    where, engine, source, out = sys.argv[1:]
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    if where == "audit":
        options = AuditOptions(
            predictions=f"{source}/good", truth=f"{source}/truth", labels="voc", counts_only=True,
            block_pairs=7, resamples=20,
        )  # fmt: skip
        run(DeadlyAudit(options=options, out=out), RunOptions(engine=engine))
        return
    settings = PrelabelSettings(source=source, out=out, **{**SMALL, "block_images": 8})
    run(DeadlyPrelabel(settings, where=where), RunOptions(engine=engine))
