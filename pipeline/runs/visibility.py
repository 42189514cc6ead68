"""Whether a machine sees the files of a run, and the very ones: asked of each node of a cluster.

A node where OUT is another folder of the same name would commit into that one, and say nothing.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import manifest_block
from maskmill.pipeline.storage.filesystems import is_uri, reason_of, resolve
from maskmill.pipeline.storage.members import is_member, split_member_uri
from maskmill.schemas.errors import MaskmillError

_MOST_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Visibility:
    """What whoever works on a run must see. Travels to the nodes and is called there."""

    layout: RunLayout
    mark: str  # a file of the run folder that holds its own name
    samples: tuple[str, ...]  # paths or URIs of the source

    def __call__(self) -> str | None:
        """What this machine does not see, as half a sentence; None where it sees all."""
        return self._of_out() or next(filter(None, map(_trouble_with, self.samples)), None)

    def _of_out(self) -> str | None:
        root, probe = self.layout.root, f"{self.mark}-{uuid.uuid4().hex}"
        try:
            if self.layout.read(self.mark).decode() != self.mark:
                return f"has another folder than this run's at OUT {root}"
            self.layout.write(probe, b"")
            self.layout.delete(probe)
        except FileNotFoundError:
            return f"does not see OUT {root}, or has another folder there"
        except OSError as error:
            return f"cannot read and write OUT {root} ({reason_of(error)})"
        except MaskmillError as error:
            return f"cannot reach OUT {root} ({error})"
        return None


def mark_run(layout: RunLayout, blocks: Sequence[int]) -> Visibility:
    """Put a mark into the run folder, and choose files of the first and last of these blocks.

    Only what is seen here: a file that is nowhere becomes a failed row, wherever it is asked for.
    """
    mark = f"{layout.scratch}/seen-{uuid.uuid4().hex}"
    layout.write(mark, mark.encode())
    ends = sorted({blocks[0], blocks[-1]}) if blocks else []
    rows = [manifest_block(layout, block)[0] for block in ends]
    places = dict.fromkeys(place for row in rows for place in _places(row))
    seen = (place for place in places if _trouble_with(place) is None)
    return Visibility(layout, mark, tuple(seen)[:_MOST_SAMPLES])


def _places(value: Any) -> Iterator[str]:
    """Every absolute path or URI in a row of a manifest; of a file in a container, the latter."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _places(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner)
    elif isinstance(value, str):
        if value.startswith(("{", "[")):  # what a reader of convert notes for itself
            try:
                yield from _places(json.loads(value))
            except ValueError:
                return
        elif is_member(value):
            yield split_member_uri(value)[0]
        elif value.startswith("/") or is_uri(value):
            yield value


def _trouble_with(place: str) -> str | None:
    try:
        filesystem, path = resolve(place)
        if filesystem.get_file_info(path).type.name != "NotFound":
            return None
    except OSError as error:
        return f"cannot look at {place} of SOURCE ({reason_of(error)})"
    except MaskmillError as error:
        return f"cannot reach {place} of SOURCE ({error})"
    return f"does not see {place} of SOURCE"
