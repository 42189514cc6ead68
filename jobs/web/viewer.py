"""What the server knows: the subject, its index, its pictures, the decisions; kept up to date."""

import time
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.decisions import Decisions, Kind
from maskmill.pipeline.review.display_colors import displayed
from maskmill.pipeline.review.labelling_run import LabellingRun
from maskmill.pipeline.review.query import DECISIONS
from maskmill.pipeline.review.renditions import Renditions
from maskmill.pipeline.review.sampled_set import SampledSet
from maskmill.pipeline.review.slim_index import SlimIndex, index_place
from maskmill.pipeline.review.subject import Subject
from maskmill.schemas.errors import SettingsError

_LOOK_SECONDS: Final = 1.0
"""How often a run under way is looked at for new rows, at most."""


class Viewer:
    """Everything that the pages of one subject are made from. Threads share it."""

    def __init__(
        self, subject: Subject, *, cache: Path, review_dir: Path | None, reviewer: str
    ) -> None:
        self.subject, self.reviewer = subject, reviewer
        self.renditions = Renditions(subject)
        self.index = SlimIndex(subject, index_place(subject, cache))
        self.index.refresh()
        if isinstance(subject, LabellingRun):
            self.index.put_scores(subject.scores())
        self.decisions, self.why_no_review = _decisions(subject, review_dir)
        self._last_word, self._looked, self._lock = 0, 0.0, Lock()
        self._standing = subject.standing()
        if isinstance(subject, SampledSet):
            Thread(target=subject.look, daemon=True).start()
        self.update()

    def close(self) -> None:
        """Let go of the files."""
        if isinstance(self.subject, SampledSet):
            self.subject.stop()
        if self.decisions is not None:
            self.decisions.close()
        self.index.close()

    def update(self) -> None:
        """Take in new rows of a run under way, and what other reviewers said."""
        with self._lock:
            is_due = time.monotonic() - self._looked > _LOOK_SECONDS
            if self._standing.state != "finished" and is_due:
                self._standing = self.subject.standing()
                self.index.refresh()
                self._looked = time.monotonic()
            if self.decisions is not None:
                last = self.decisions.last_id()
                if last > self._last_word:
                    told = self.decisions.changed_since(self._last_word)
                    self.index.put_decisions(
                        [(one.key, one.decision or None, one.note, one.reviewer, one.at)
                         for one in told]
                    )  # fmt: skip
                    self._last_word = last

    def say(self, n: int, kind: Kind, value: str, reviewer: str) -> None:
        """Keep what a reviewer says of an image; it is on the disk when this returns.

        Raises:
            SettingsError: there is no such image, no such decision, or decisions cannot be kept.
        """
        if self.decisions is None:
            raise SettingsError(self.why_no_review)
        item = gallery.item(self.index, n)
        if item is None:
            raise SettingsError(f"there is no image of id {n}")
        self.decisions.say(item.key, kind, value, reviewer[:80] or self.reviewer)
        self.update()

    def facts(self) -> dict[str, Any]:
        """What a page needs to know before it asks for rows."""
        subject, standing = self.subject, self._standing
        count = "SELECT count(*), count(entropy), count(miou), count(confidence) FROM gallery"
        images, unsure, scored, sure = self.index.ask(count)[0]
        shown = displayed(subject.labels)
        return {
            "source": subject.source,
            "command": subject.command,
            "state": standing.state,
            "inputs": standing.inputs,
            "images": images,
            "note": standing.note if standing.state != "finished" else self.index.note,
            "classes": [
                {"index": entry.index, "name": entry.name, "color": list(entry.color),
                 "own": list(own.color), "background": entry.is_background}
                for entry, own in zip(shown.classes, subject.labels.classes, strict=True)
            ],
            "ignore": subject.labels.ignore_index,
            "truth": subject.has_truth, "before": subject.has_before,
            "has": {"entropy": unsure > 0, "confidence": sure > 0, "miou": scored > 0},
            "review": self.decisions is not None,
            "why_no_review": self.why_no_review,
            "reviewer": self.reviewer,
        }  # fmt: skip

    def progress(self) -> dict[str, Any]:
        """How far the review is: images decided, left, and decided per minute of late."""
        self.update()
        decided = dict(self.index.ask(
            "SELECT decision, count(*) FROM gallery WHERE decision IS NOT NULL GROUP BY decision"
        ))  # fmt: skip
        total = self.index.ask("SELECT count(*) FROM images WHERE status <> 'failed'")[0][0]
        reviewed = sum(decided.values())
        return {
            "total": total, "reviewed": reviewed, "left": max(0, total - reviewed),
            **{name: decided.get(name, 0) for name in DECISIONS},
            "per_minute": self.decisions.per_minute() if self.decisions else 0.0,
        }  # fmt: skip


def review_folder(subject: Subject, review_dir: Path | None) -> Path:
    """Where decisions about a subject are kept.

    Raises:
        SettingsError: the subject lies where nothing can be, or may be, written; how to go on.
    """
    if review_dir is not None:
        return review_dir
    if subject.layout is None:
        raise SettingsError(
            "decisions about a data set are not kept inside it: give a folder with --review-dir"
        )
    if not subject.layout.is_local:
        raise SettingsError(
            "the run is not on a disk of this machine: give a folder for decisions with "
            "--review-dir"
        )
    return subject.layout.local("review")


def _decisions(subject: Subject, review_dir: Path | None) -> tuple[Decisions | None, str]:
    try:
        return Decisions(review_folder(subject, review_dir)), ""
    except SettingsError as error:
        if review_dir is not None:
            raise
        return None, str(error)
