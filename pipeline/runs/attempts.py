"""How often a block was started, and which image kills its worker.

Ray replays a task whose worker died, for ever; the local engine starts its child process again.
Each stage therefore writes down what it is about to do before it does it. A stage that finds its
own unfinished note, from the same session, knows that its worker died there. After ``BLOCK_DEATHS``
deaths the stage goes image by image, noting each one; an image found in the note ``IMAGE_DEATHS``
times is not tried again. Deaths are counted within one session only, which is the life of the
driver that saw them: a killed driver takes every worker with it and blames nobody.

Where one thread takes a block through all its stages (:func:`all_stages_here`), the first note
stands for all of them: whatever follows is begun again from the start. In a bucket it costs one
request a block; the notes of blocks that are through go when the run closes.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any

from pyarrow import fs

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.storage.filesystems import bucket_place
from maskmill.pipeline.storage.object_client import ConditionsUnsupported

BLOCK_DEATHS = 3
IMAGE_DEATHS = 2
FIRST_STAGE = "load"
"""What the first stage of every job is called: it counts as a start of the block."""


@dataclass(slots=True, kw_only=True)
class Note:
    """What is on disk about one block in the making."""

    session: str = ""
    token: str = ""  # of the start that wrote it first
    starts: int = 0
    stage: str = ""
    running: bool = False
    deaths: int = 0
    image_id: int | None = None
    image_deaths: dict[str, int] = field(default_factory=dict)
    image_stages: dict[str, str] = field(default_factory=dict)  # where each of these died last


@dataclass(slots=True)
class BlockAttempt:
    """One stage's try at one block; :func:`begin_stage` writes it down, ``finish`` closes it."""

    layout: RunLayout
    block: int
    note: Note
    is_whole: bool = False  # the first stage's note stands for all

    @property
    def starts(self) -> int:
        """How often the block was started, this time included."""
        return self.note.starts

    @property
    def one_by_one(self) -> bool:
        """True once the block killed its worker too often to be done in one go."""
        return self.note.deaths >= BLOCK_DEATHS

    def is_deadly(self, image_id: int) -> bool:
        """True for an image whose worker died while it was alone at work."""
        return self.note.image_deaths.get(str(image_id), 0) >= IMAGE_DEATHS

    def stage_of_death(self, image_id: int) -> str:
        """In which stage the image killed its worker."""
        return self.note.image_stages.get(str(image_id), self.note.stage)

    def mark(self, image_id: int) -> None:
        """Before an image in one-by-one mode: if we die now, it was this one."""
        if self.one_by_one:
            self.note.image_id = image_id
            self._save()

    def finish(self) -> None:
        """The stage is through; what follows is not its death."""
        self.note.running, self.note.image_id = False, None
        if self.one_by_one or not self.is_whole:
            self._save()

    def _save(self) -> None:
        self.layout.write(
            self.layout.attempts_path(self.block), json.dumps(asdict(self.note)).encode()
        )


def under_way(layout: RunLayout, blocks: Iterable[int]) -> list[int]:
    """Those of the blocks that were being worked on when their process ended, however it ended."""
    selector = fs.FileSelector(layout.path(layout.attempts), allow_not_found=True)
    noted = {info.base_name for info in layout.filesystem.get_file_info(selector)}
    names = ((block, layout.attempts_path(block).rpartition("/")[2]) for block in blocks)
    return [block for block, name in names if name in noted and _read(layout, block).running]


def release(layout: RunLayout, block: int) -> None:
    """Say that work on a block was given up and killed nobody."""
    note = _read(layout, block)
    if note.running:
        BlockAttempt(layout, block, note).finish()


def release_all(layout: RunLayout, blocks: Iterable[int]) -> None:
    """The same of all these blocks that are under way."""
    for block in under_way(layout, blocks):
        release(layout, block)


_whole: ContextVar[dict[int, Note] | None] = ContextVar("notes of blocks done here", default=None)


@contextmanager
def all_stages_here() -> Iterator[None]:
    """Within this block, the calling thread takes each block through every stage."""
    token = _whole.set({})
    try:
        yield
    finally:
        _whole.reset(token)


def begin_stage(layout: RunLayout, block: int, stage: str, session: str) -> BlockAttempt:
    """Note that ``stage`` of ``block`` starts now, and count the death it may follow."""
    whole = _whole.get()
    if whole is not None and stage != FIRST_STAGE and block in whole:
        attempt = BlockAttempt(layout, block, whole[block], is_whole=True)
        attempt.note.stage, attempt.note.running, attempt.note.image_id = stage, True, None
        if attempt.one_by_one:
            attempt._save()
        return attempt
    note = _begun(layout, block, stage, session)
    if whole is not None:
        whole[block] = note
    return BlockAttempt(layout, block, note, is_whole=whole is not None)


def forget(layout: RunLayout, block: int) -> None:
    """The block is committed: its note is worth nothing. In a bucket it goes with all others."""
    if layout.is_local:
        layout.delete(layout.attempts_path(block))


def _begun(layout: RunLayout, block: int, stage: str, session: str) -> Note:
    """The note of a stage that starts now, as it is on disk."""
    first = Note(session=session, token=uuid.uuid4().hex, starts=1, stage=stage, running=True)
    if stage == FIRST_STAGE and _is_created(layout, block, first):
        return first
    note = _read(layout, block)
    if note.session != session:
        note = Note(session=session, starts=note.starts)
    # Ray repeats the stage that died; a child process of the local engine begins with the first.
    died = note.running and stage in (note.stage, FIRST_STAGE)
    if died:
        note.deaths += 1
        if note.image_id is not None:
            key = str(note.image_id)
            note.image_deaths[key] = note.image_deaths.get(key, 0) + 1
            note.image_stages[key] = note.stage
    if died or stage == FIRST_STAGE:
        note.starts += 1
    note.stage, note.running, note.image_id = stage, True, None
    BlockAttempt(layout, block, note)._save()
    return note


def _is_created(layout: RunLayout, block: int, note: Note) -> bool:
    """Written to a bucket in one request, where no note was; False where it is to be read first."""
    place = bucket_place(layout.filesystem, layout.path(layout.attempts_path(block)))
    if place is None:
        return False
    try:
        place[0].create(place[1], json.dumps(asdict(note)).encode())
    except FileExistsError:  # perhaps by ourselves: the answer to the first try may be lost
        return _read(layout, block).token == note.token
    except ConditionsUnsupported:
        return False
    return True


def _read(layout: RunLayout, block: int) -> Note:
    """The note on disk; a torn one is worth nothing, and none was lost by that but a count."""
    try:
        values: dict[str, Any] = json.loads(layout.read(layout.attempts_path(block)))
        return Note(**values)
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return Note()
