"""Which pictures go through a network together: those of one size, so many at once."""

from collections.abc import Iterator, Sequence

from maskmill.pipeline.views.preparation import NetworkPicture


def equal_shapes(pictures: Sequence[NetworkPicture], size: int) -> Iterator[list[int]]:
    """Positions of pictures of equal network size, in order, at most ``size`` at once."""
    waiting: dict[tuple[int, int], list[int]] = {}
    for position, picture in enumerate(pictures):
        group = waiting.setdefault(picture.network_hw, [])
        group.append(position)
        if len(group) == size:
            yield waiting.pop(picture.network_hw)
    yield from waiting.values()


def parts(group: list[NetworkPicture], size: int) -> list[list[NetworkPicture]]:
    """The group in pieces of ``size``, the last one shorter."""
    return [group[start : start + size] for start in range(0, len(group), size)]
