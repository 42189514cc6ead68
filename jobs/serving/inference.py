"""Inference: one network in memory, and the pictures that wait for it.

Threads read, decode and label, one picture each; their number bounds how many pictures are in
memory. On a CPU they run the network as well, as the local engine's threads do. On a GPU, and
wherever groups are larger than one, they hand pictures to the network's own thread, which takes
all that have come while it was busy: batches form by themselves, and nobody waits for one to fill.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from maskmill.jobs.engines.machine import local_cores
from maskmill.pipeline.prelabel.labelled_picture import LabelledPicture
from maskmill.pipeline.prelabel.labeller import Labeller, ShownPicture
from maskmill.pipeline.views.geometry import GridView
from maskmill.schemas.errors import ImageFailure

Answer = tuple[GridView, ...] | ImageFailure


class Inference:
    """Labels pictures for any number of requests at once."""

    def __init__(self, labeller: Labeller) -> None:
        self.labeller = labeller
        grouped = labeller.segmenter.group_size > 1 or labeller.segmenter.device.type != "cpu"
        self._groups = _Groups(labeller) if grouped else None
        self.width = max(local_cores(), 2 * labeller.segmenter.group_size if grouped else 1)
        self._threads = ThreadPoolExecutor(self.width, thread_name_prefix="picture")

    async def label(self, read: Callable[[], bytes], name: str) -> LabelledPicture:
        """Read, decode and label one picture; ``read`` is called in a thread, when there is one.

        Cancelled before its turn, it costs nothing.

        Raises:
            ImageFailure: what ``read`` or the decoder says, or the network's memory.
        """
        return await asyncio.wrap_future(self._threads.submit(self._label, read, name))

    def close(self) -> None:
        """Let go of what waits; pictures under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._groups is not None:
            self._groups.close()

    def _label(self, read: Callable[[], bytes], name: str) -> LabelledPicture:
        labeller = self.labeller
        image = labeller.decode(read(), name)
        shown = labeller.show(image.pixels, image.reduction)
        answer = self._groups.ask(shown) if self._groups else labeller.answer([shown])[0]
        if isinstance(answer, ImageFailure):
            raise ImageFailure(answer.code, f"{name}: {answer}")
        return labeller.label(shown, answer)


class _Groups:
    """The network's own thread, where several pictures go through it at once."""

    def __init__(self, labeller: Labeller) -> None:
        self._labeller = labeller
        self._waiting: queue.SimpleQueue[tuple[ShownPicture, Future[Answer]] | None]
        self._waiting = queue.SimpleQueue()
        threading.Thread(target=self._work, name="network", daemon=True).start()

    def ask(self, shown: ShownPicture) -> Answer:
        """The network's answer, waited for."""
        future: Future[Answer] = Future()
        self._waiting.put((shown, future))
        return future.result()

    def close(self) -> None:
        """End the thread once what was asked before is answered."""
        self._waiting.put(None)

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            group = [first]
            while len(group) < self._labeller.segmenter.group_size and not self._waiting.empty():
                other = self._waiting.get()
                if other is None:  # closing: answer these, then end
                    self._waiting.put(None)
                    break
                group.append(other)
            self._answer(group)

    def _answer(self, group: Sequence[tuple[ShownPicture, "Future[Answer]"]]) -> None:
        try:
            answers = self._labeller.answer([shown for shown, _ in group])
        except Exception as error:  # a bug: each of those who wait shall hear of it
            for _, future in group:
                future.set_exception(error)
            return
        for (_, future), answer in zip(group, answers, strict=True):
            future.set_result(answer)
