"""ConvertJob: `convert` as a job: plan, stages, finish with the target's documents and --check."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from maskmill.pipeline.convert.check_proof import SAMPLES, CheckPlan, Proof, plan_check, proof_of
from maskmill.pipeline.convert.conversion import (
    ConversionPlan,
    ConversionRequest,
    conversion_identity,
    plan_conversion,
)
from maskmill.pipeline.convert.finish import (
    Yield,
    count_yield,
    finish_conversion,
    import_commands,
    refuse_boxes_alone,
)
from maskmill.pipeline.convert.manifest import manifest_file
from maskmill.pipeline.convert.operator import ConvertMasks
from maskmill.pipeline.runs.attempts import FIRST_STAGE
from maskmill.pipeline.runs.commit import CommitItems
from maskmill.pipeline.runs.identity import digest_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.ledger import count_ledger
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.record import RunRecord, tool_version
from maskmill.pipeline.runs.rows import RowTable
from maskmill.pipeline.runs.stages import Opened, Stage, Workers
from maskmill.schemas.tables.convert import CONVERSION

ROWS = RowTable(schema=CONVERSION)

REMEDIES = {
    "inputs": "The source has changed since this run began: choose another output folder.",
    "from": "OUT holds a conversion from another format: choose another output folder.",
    "to": "OUT holds a conversion to another format: choose another output folder.",
}


@dataclass(frozen=True, kw_only=True)
class ConvertPlan(Plan):
    """The source looked through; ``check`` says how the target is read back, where asked for."""

    conversion: ConversionPlan
    check: CheckPlan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a finished conversion can tell: how its documents are imported, what became of the
    source, and its proof."""

    counts: Yield
    imports: tuple[str, ...] = ()
    proof: Proof | None = None


@dataclass(frozen=True, kw_only=True)
class ConvertJob:
    """A conversion. ``request`` decides the output, ``check`` reads it back."""

    request: ConversionRequest
    out: str
    check: bool = False
    block_samples: int = 64

    command = "convert"
    noun = "samples"
    table = ROWS
    remedies = REMEDIES
    local_items = 10000

    @cached_property
    def layout(self) -> RunLayout:
        """The run folder."""
        return RunLayout(self.out)

    def plan(self, record: RunRecord | None) -> ConvertPlan:
        """Look through the source, and spool its manifest.

        Raises:
            SettingsError: what is asked for cannot be.
            FileFailure: the source as a whole does not follow its format.
        """
        conversion, items = plan_conversion(self.request)
        request = self.request
        manifest = manifest_file(
            items, shares=request.shares, seed=request.seed, block_samples=self.block_samples
        )
        identity = conversion_identity(conversion, manifest, self.block_samples)
        info = self._info(conversion, identity)
        return ConvertPlan(
            sizes=manifest.sizes,
            identity=identity,
            notes=conversion.notes,
            put_manifest=None if record else manifest.put,
            settings=self._settings(),
            facts={"label_map": conversion.mapping.target.to_dict(), "info": info},
            conversion=replace(conversion, info={name: str(info[name]) for name in sorted(info)}),
            check=plan_check(conversion, self.layout) if self.check else None,
        )

    def needed_files(self, plan: ConvertPlan) -> list[str]:
        """None beside those that every row has."""
        return []

    def resolve(self, plan: ConvertPlan, workers: Workers) -> ConvertPlan:
        """The plan: nothing of it depends on the workers."""
        return plan

    def on_gpu(self, plan: ConvertPlan) -> bool:
        """Never."""
        return False

    def stages(self, plan: ConvertPlan, session: str) -> Sequence[Stage]:
        """One: read, map, write, commit."""
        work = ConvertMasks(
            layout=self.layout,
            plan=plan.conversion,
            fingerprint=digest_of(plan.identity),
            tool_version=tool_version(),
        )
        operator = CommitItems(layout=self.layout, session=session, table=ROWS, work=work)
        return (Stage(name=FIRST_STAGE, open=Opened(operator)),)

    def finish(
        self, plan: ConvertPlan, record: RunRecord, workers: Workers, *, is_fresh: bool
    ) -> Converted:
        """The target's documents where rows are new, and the proof where it was asked for.

        Raises:
            DocumentFailure: the source has boxes and no mask.
        """
        imports: list[str] = []
        counts = count_yield(self.layout, plan.conversion)
        refuse_boxes_alone(self.layout, plan.conversion, counts)
        if is_fresh:
            written = finish_conversion(self.layout, plan.conversion)
            imports = import_commands(plan.conversion, self.layout, written)
        record.info["counts"] = counts.to_dict()
        proof = self._prove(plan, plan.check, workers) if plan.check else None
        if proof is not None:
            failed = count_ledger(self.layout, plan.inputs).failed
            proof.dropped = failed + sum(counts.left_out.values())
            record.info["check"] = proof.to_dict()
        return Converted(imports=tuple(imports), proof=proof, counts=counts)

    def _prove(self, plan: ConvertPlan, check: CheckPlan, workers: Workers) -> Proof | None:
        """Every committed block read back; None where nothing could be converted."""
        if not count_ledger(self.layout, plan.inputs).ok:
            return None
        operator, blocks = check.operator(self.layout)
        for _ in workers.blocks((Stage(name="check", open=Opened(operator)),), blocks):
            pass  # the rows of the check tell all
        self.layout.delete(SAMPLES)
        return proof_of(self.layout, plan.conversion)

    def _settings(self) -> dict[str, Any]:
        """Plain values for run.json; the label map has a place of its own there."""
        request = asdict(self.request)
        del request["labels"]
        return {**request, "out": self.out, "block_samples": self.block_samples}

    def _info(self, conversion: ConversionPlan, identity: Mapping[str, Any]) -> dict[str, Any]:
        extras = conversion.extras
        return {
            **({"model": extras["model"]} if "model" in extras else {}),
            "description": f"converted from {self.request.from_format}",
            "contributor": f"maskmill {tool_version()}",
            "fingerprint": digest_of(identity),
        }
