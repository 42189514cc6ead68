"""The Label Studio ML backend contract: what its server asks, and the answers it understands.

Facts: Label Studio 1.23, ml/api_connector.py and ml/models.py. It waits 1 s for /health, 3 s for
/setup and 100 s for /predict. ``results`` must have one entry per task, in order; an entry without
``result`` is logged there and left out, and the others count. What it says of itself in a request
(host name, token) is not used: anyone could say it.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from maskmill.jobs.serving.inference import Inference
from maskmill.jobs.serving.task_pictures import TaskPictures
from maskmill.pipeline.datasets.documents.label_studio_controls import MaskControl, mask_control
from maskmill.pipeline.datasets.formats.label_studio import write_brush, write_polygons
from maskmill.pipeline.datasets.samples import Sample, Target, WriteContext
from maskmill.pipeline.prelabel.labelled_picture import LabelledPicture
from maskmill.schemas.errors import (
    DocumentFailure,
    ErrorCode,
    FileFailure,
    MaskmillError,
    SettingsError,
)
from maskmill.schemas.labels import LabelMap

Document = dict[str, Any]
MOST_SAID: Final = 1000
TRAINING: Final = ("START_TRAINING", "TRAIN")
_WRITERS: Final = {"brushlabels": write_brush, "polygonlabels": write_polygons}


class LabelStudioBackend:
    """One model for any number of projects; nothing is kept between requests.

    ``pictures`` is None where no Label Studio was configured. ``say`` takes sentences for whoever
    runs the server: Label Studio shows its users little of what a backend answers.
    """

    def __init__(
        self,
        inference: Inference,
        pictures: TaskPictures | None,
        *,
        version: str,
        seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._inference, self._pictures = inference, pictures
        self._version, self._seconds, self._say = version, seconds, say
        self._said: set[str] = set()

    @property
    def _labels(self) -> LabelMap:
        return self._inference.labeller.choice.labels

    def setup(self, document: Mapping[str, Any]) -> Document:
        """Whether this model suits the project, and which model it is.

        Raises:
            SettingsError: no Label Studio was configured.
            DocumentFailure: a labelling config in which masks of this model have no place.
        """
        pictures, control = self._configured(), self._control(document.get("schema"))
        told = str(document.get("hostname") or "")
        if told and told.rstrip("/") != pictures.url.rstrip("/"):
            self._say_once(
                f"a project says that its Label Studio is {told}; pictures are taken from "
                f"{pictures.url} (--label-studio) and nowhere else"
            )
        if control.unmatched:
            self._say_once(
                f"project {document.get('project')}: no label for {', '.join(control.unmatched)}; "
                "their pixels stay unlabelled there"
            )
        return {
            "model_version": self._version,
            "labels": {self._labels.names[one]: label for one, label in control.labels.items()},
            "left_out": list(control.unmatched),
        }

    async def predict(self, document: Mapping[str, Any]) -> Document:
        """A prediction for every task, in order; ``error`` in place of one that there is not.

        Raises:
            SettingsError, DocumentFailure: as :meth:`setup`; or no list of tasks.
        """
        pictures, control = self._configured(), self._control(document.get("label_config"))
        tasks = document.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(one, dict) for one in tasks):
            raise DocumentFailure(ErrorCode.MALFORMED, "tasks must be a list of objects")
        room = asyncio.Semaphore(self._inference.width)  # so that other requests have their turns
        work = [
            asyncio.ensure_future(self._predicted(task, control, pictures, room)) for task in tasks
        ]
        results = await self._in_time(work)
        failed = [one["error"]["message"] for one in results if "error" in one]
        if failed:
            self._say(f"{len(failed)} of {len(tasks)} tasks have no prediction; first {failed[0]}")
        return {"results": results, "model_version": self._version}

    def webhook(self, document: Mapping[str, Any]) -> Document:
        """Nothing is learnt from what happens in a project, and that is said.

        Raises:
            SettingsError: a training is asked for.
        """
        if document.get("action") in TRAINING:
            raise SettingsError(
                "this backend does not train; maskmill finetune does, from exported annotations"
            )
        return {"result": "nothing to do: this backend keeps nothing of a project"}

    def refused(self, path: str, error: MaskmillError) -> None:
        """Tell whoever runs the server: Label Studio shows its users a status and no more."""
        self._say_once(f"{path} is refused: {error}")

    def _say_once(self, sentence: str) -> None:
        """Label Studio sets its projects up again at every prediction."""
        if len(self._said) < MOST_SAID and sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)

    def _configured(self) -> TaskPictures:
        if self._pictures is None:
            raise SettingsError(
                "this server was started without --label-studio URL: it opens the pictures of no "
                "Label Studio"
            )
        return self._pictures

    def _control(self, config: object) -> MaskControl:
        if not isinstance(config, str) or not config:
            raise DocumentFailure(ErrorCode.MALFORMED, "the request holds no labelling config")
        return mask_control(config, self._labels)

    async def _in_time(self, work: Sequence["asyncio.Future[Document]"]) -> list[Document]:
        """What is done by the limit; the tasks that are not say so, and begin no more."""
        if work:
            await asyncio.wait(work, timeout=self._seconds)
        for one in work:
            one.cancel()
        return [
            one.result() if one.done() and not one.cancelled() else self._too_late() for one in work
        ]

    def _too_late(self) -> Document:
        return _failed(
            "timeout",
            f"not done within {self._seconds:g} s (--time-limit); ask for fewer tasks at once: "
            "those that have a prediction are not asked for again",
        )

    async def _predicted(
        self,
        task: Mapping[str, Any],
        control: MaskControl,
        pictures: TaskPictures,
        room: asyncio.Semaphore,
    ) -> Document:
        data = task.get("data")
        value = data.get(control.picture_field) if isinstance(data, Mapping) else None
        try:
            async with room:
                read = partial(pictures.read, value, task.get("id"))
                labelled = await self._inference.label(read, _name(task, value))
            return await asyncio.to_thread(self._prediction, task, control, labelled)
        except FileFailure as failure:
            return _failed(failure.code.value, f"task {task.get('id')}: {failure}")

    def _prediction(
        self, task: Mapping[str, Any], control: MaskControl, labelled: LabelledPicture
    ) -> Document:
        labels = self._labels
        present = sorted({segment.class_index for segment in labelled.segments})
        scores = {one: labelled.class_scores[one] for one in present if one in control.labels}
        known = {one: score for one, score in scores.items() if not math.isnan(score)}
        sample = Sample(key=str(task.get("id")), mask=labelled.mask, labels=labels, scores=known)
        written = _WRITERS[control.kind](
            sample,
            Target(image_id=0, stem=str(task.get("id")), split=""),
            WriteContext(labels=labels),
        )
        prediction: Document = written.record["predictions"][0]
        word = {labels.names[index]: label for index, label in control.labels.items()}
        return {
            "result": [
                _in_project(region, control, word)
                for region in prediction["result"]
                if region["value"][control.kind][0] in word
            ],
            **({"score": prediction["score"]} if "score" in prediction else {}),
            "model_version": self._version,
            "left_out": [labels.names[one] for one in present if one not in control.labels],
        }


def _in_project(region: Document, control: MaskControl, word: Mapping[str, str]) -> Document:
    """A region in the project's own words."""
    value = {**region["value"], control.kind: [word[region["value"][control.kind][0]]]}
    return {**region, "from_name": control.from_name, "to_name": control.to_name, "value": value}


def _failed(code: str, message: str) -> Document:
    return {"error": {"code": code, "message": message}}


def _name(task: Mapping[str, Any], value: object) -> str:
    return str(value)[:200] if value else f"task {task.get('id')}"
