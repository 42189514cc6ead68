"""How the files of a block are kept: each by itself, or all of them in one shard."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from maskmill.pipeline.prelabel.parcels import Item
from maskmill.pipeline.prelabel.writers.registry import Output, Store
from maskmill.pipeline.runs.layout import RunLayout, shard_of, stretch_of
from maskmill.pipeline.runs.shards import Member, member_name, write_shard

SHARD_BLOCK_IMAGES: Final = 128
"""Images of a block whose files are one shard: a few requests of a bucket are shared by more."""

_FACTS = ("width", "height", "sha256")
_RESULT = ("classes", "ignored_fraction", "mean_confidence", "mean_entropy", "mean_margin")


class Keeper(Protocol):
    """Takes the files of one block, by many threads at once."""

    def keep(self, item: Item, output: Output, data: bytes) -> str:
        """Take a file; what the image's row is to say of its place, as far as that is known."""

    def close(self, rows: dict[int, dict[str, Any]]) -> None:
        """All files of the block are there; completes the columns of the rows, by image_id."""


def keeper(store: Store, layout: RunLayout, block: int) -> Keeper:
    """A new keeper for one block."""
    return KeepShard(layout, block) if store == "shards" else KeepFiles(layout)


@dataclass(frozen=True, slots=True)
class KeepFiles:
    """Puts each file in place at once, at a path that the key decides."""

    layout: RunLayout

    def keep(self, item: Item, output: Output, data: bytes) -> str:
        """The file is there when this returns."""
        path = output.path(item.output)
        self.layout.write(path, data)
        return path

    def close(self, rows: dict[int, dict[str, Any]]) -> None:
        """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class KeepShard:
    """Holds the files of a block until it is through, then writes them as one tar.

    Beside each image's files lies ``key.json`` with what its row says of picture and mask.
    """

    layout: RunLayout
    block: int
    files: dict[int, dict[str, Member]] = field(default_factory=dict)
    items: dict[int, Item] = field(default_factory=dict)

    def keep(self, item: Item, output: Output, data: bytes) -> str:
        """The name of the member; its place is known once the tar is written."""
        ending = "mask" if output.spec.name == "masks" else output.spec.name
        name = member_name(item.output, f"{ending}{output.extension}")
        self.items[item.image_id] = item
        self.files.setdefault(item.image_id, {})[name] = Member(name, data)
        return name

    def close(self, rows: dict[int, dict[str, Any]]) -> None:
        """The shard is in place; the rows say where in it their files are."""
        members: list[Member] = []
        for image_id in sorted(rows):
            members += self.files[image_id].values()
            members.append(self._description(self.items[image_id], rows[image_id]))
        if not members:
            return
        names = [member.name for member in members]
        places = dict(zip(names, write_shard(self.layout, self.block, members), strict=True))
        for row in rows.values():
            row["mask_path"] = place = places[row["mask_path"]]
            stretch = stretch_of(place)
            row |= {"shard": shard_of(place), "offset": stretch.offset, "length": stretch.length}
            for file in row["files"]:
                file["path"] = places[file["path"]]

    def _description(self, item: Item, row: Mapping[str, Any]) -> Member:
        facts = {name: getattr(item.facts, name) for name in _FACTS}
        result = {name: row[name] for name in _RESULT}
        document = {"key": item.key, "image_id": item.image_id, **facts, **result}
        text = json.dumps(document, ensure_ascii=False, sort_keys=True)
        return Member(member_name(item.output, "json"), text.encode("utf-8", "surrogateescape"))
