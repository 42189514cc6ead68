"""The step about CUDA graphs: whether replays say what calls say, bit for bit, and their gain."""

import time
from typing import Any

from setting import Setting, hash_of

GROUPS = (1, 2, 8, 16)
SECONDS = 1.0
"""How long each figure is measured; a quick run takes one round."""


def graphs(setting: Setting) -> dict[str, Any]:
    """Networks called for every group beside the same networks replayed, by precision and group.

    What a worker leaves out, saying why, is no fault; that a replay says something else is one.
    """
    setting.needs_gpu("CUDA graphs are recorded on one")
    few = slice(1 if setting.quick else None), slice(2 if setting.quick else None)
    found = {
        f"{name or 'default'}, {precision}, {group}": _compared(setting, name, precision, group)
        for name in (None, "deeplabv3_resnet50")[few[0]]
        for precision in ("auto", "fp32")
        for group in GROUPS[few[1]]
    }
    return {"holds": all(one["equal"] for one in found.values()), **found}


def _compared(setting: Setting, name: str | None, precision: str, group: int) -> dict[str, Any]:
    called = setting.segmenter(precision, group, name=name)
    replayed = setting.segmenter(precision, group, name=name, graphs=True)
    pictures = setting.made_up_pictures(3 * group)  # other ones than what it was recorded with
    trouble = replayed.graph_trouble(pictures[0])
    equal = hash_of(called.forward(pictures)) == hash_of(replayed.forward(pictures))
    return {
        "equal": equal,
        "left_out": trouble or replayed.graph_trouble(pictures[-1]),
        "called_ms": _ms_per_image(setting, called, pictures),
        "replayed_ms": _ms_per_image(setting, replayed, pictures),
    }


def _ms_per_image(setting: Setting, segmenter: Any, pictures: list[Any]) -> float:
    """Of whole forwards, from pictures in memory to logits in memory."""
    segmenter.forward(pictures)
    calls, started = 0, time.perf_counter()
    while not calls or (time.perf_counter() - started < SECONDS and not setting.quick):
        segmenter.forward(pictures)
        calls += 1
    return round((time.perf_counter() - started) * 1000 / calls / len(pictures), 3)
