"""Labeller: one network in memory that labels single pictures as a `prelabel` command does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.models.adaptation import check_class_count
from maskmill.pipeline.models.choice import model_version
from maskmill.pipeline.models.segmenter import PictureLogits, Segmenter
from maskmill.pipeline.models.torch_settings import best_device, exact_settings
from maskmill.pipeline.models.worker_facts import gpu_title, torch_version
from maskmill.pipeline.pictures.decoding import DecodedImage, decode_image
from maskmill.pipeline.pictures.reduction import Reduction
from maskmill.pipeline.prelabel.labelled_picture import (
    LabelledPicture,
    LabelRules,
    labelled_picture,
)
from maskmill.pipeline.prelabel.plan import (
    adapted_choice,
    default_block_images,
    default_group_size,
    known_identity,
    resolved_identity,
)
from maskmill.pipeline.prelabel.save import Provenance
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.identity import deciding_settings, digest_of, settings_fingerprint_of
from maskmill.pipeline.runs.record import tool_version
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.pictures import mirrored, needed_size, view_pictures
from maskmill.pipeline.views.plan import ViewPlan, plan_views
from maskmill.pipeline.views.preparation import NetworkPicture
from maskmill.schemas.arrays import RgbImage
from maskmill.schemas.errors import ImageFailure


@dataclass(frozen=True, slots=True, eq=False)
class ShownPicture:
    """A picture as the network is to see it: one entry per view of the plan, in its order."""

    size_hw: tuple[int, int]
    plan: ViewPlan
    pictures: tuple[NetworkPicture, ...]


class Labeller:
    """The network and the rules of one `prelabel` command. Threads may share it.

    Loading keeps the caller's PyTorch settings; calls are to stand inside ``exact_settings``.

    Raises:
        SettingsError: no such model, label map or setting, or labels that do not fit.
        ModelError: weights that are missing, or do not fit the network.
        WeightsRefused: a file that would run code.
    """

    def __init__(
        self,
        settings: PrelabelSettings,
        *,
        device: str | None = None,
        group_size: int | None = None,
    ) -> None:
        self.settings = settings
        self.choice = adapted_choice(settings)
        device = device or best_device()
        with exact_settings():
            self.segmenter = Segmenter(
                self.choice.spec,
                self.choice.weights_path,
                device=device,
                precision=settings.precision,
                threads=settings.threads_per_worker,
                group_size=group_size
                or settings.batch_size
                or default_group_size(device, self.choice.spec.preprocessing),
                untrained=settings.untrained,
            )
        check_class_count(self.segmenter.num_classes, self.choice.labels)
        self.rules = LabelRules(
            labels=self.choice.labels,
            threshold=settings.threshold,
            min_confidence=settings.min_confidence,
            min_area=settings.min_area,
            segments=settings.segments,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the commands would say of the weights."""
        return (*self.choice.notes, *self.segmenter.notes)

    def decode(self, data: bytes, name: str) -> DecodedImage:
        """The pixels of a file, a large JPEG at the size that the network needs.

        Raises:
            ImageFailure: no picture, or one that is too large.
        """
        return decode_image(
            data,
            name=name,
            max_pixels=self.settings.max_pixels,
            needed=None if self.settings.exact_decode else self._needed,
        )

    def show(self, pixels: RgbImage, reduction: Reduction | None = None) -> ShownPicture:
        """Scale (H, W, 3) uint8 pixels, whole or reduced, for the network, once per view."""
        size = reduction.shown_hw if reduction else (pixels.shape[0], pixels.shape[1])
        plan = plan_views(size, self.settings.views)
        spec = self.segmenter.spec
        shown = view_pictures(
            pixels,
            plan,
            spec.preprocessing,
            image_size=self.settings.image_size,
            alignment=spec.alignment,
            reduction=reduction,
        )
        views = [
            one for part in shown for one in ((part, mirrored(part)) if plan.flip else (part,))
        ]
        return ShownPicture(size, plan, tuple(views))

    def _needed(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        spec = self.segmenter.spec
        return needed_size(
            size_hw,
            self.settings.views,
            spec.preprocessing,
            image_size=self.settings.image_size,
            alignment=spec.alignment,
        )

    def answer(self, shown: Sequence[ShownPicture]) -> list[tuple[GridView, ...] | ImageFailure]:
        """What the network says to each picture; views of several pictures share its groups."""
        results = iter(self.segmenter.forward([view for one in shown for view in one.pictures]))
        return [_grids([next(results) for _ in one.pictures]) for one in shown]

    def label(self, shown: ShownPicture, answers: Sequence[GridView]) -> LabelledPicture:
        """Mask, segments and scores at the picture's size.

        Raises:
            MaskFailure: the network says a class that the label map lacks.
        """
        return labelled_picture(answers, shown.plan, shown.size_hw, self.rules)

    def version(self) -> str:
        """Which model this is, for tools that tell predictions apart by one text.

        Its name and the hash of its weights; of settings that change labels, a hash where they are
        not the defaults. Device and precision are no part of it.
        """
        usual = PrelabelSettings(untrained=self.settings.untrained, source="", out="")
        mine = _label_settings(self.settings)
        settings = "" if mine == _label_settings(usual) else f" settings {digest_of(mine)[:8]}"
        return model_version(self.choice.title, self.choice.weights_sha256) + settings

    def provenance(self) -> Provenance:
        """What the files of a fresh `prelabel` run with these settings, here, would carry."""
        known = known_identity(
            self.settings,
            self.choice,
            default_block_images(self.settings.views, device=self.segmenter.device.type),
        )
        resolved = resolved_identity(
            device=self.segmenter.device.type,
            precision=self.segmenter.precision,
            group_size=self.segmenter.group_size,
            torch_version=torch_version(),
            gpu=gpu_title() if self.segmenter.device.type == "cuda" else None,
        )
        return Provenance(
            model=self.choice.title,
            weights_sha256=self.choice.weights_sha256,
            settings_fingerprint=settings_fingerprint_of({**known, **resolved}),
            tool_version=tool_version(),
        )


def _grids(results: Sequence[PictureLogits | ImageFailure]) -> tuple[GridView, ...] | ImageFailure:
    """The answers to all views of one picture, or the first failure among them."""
    grids = []
    for result in results:
        if isinstance(result, ImageFailure):
            return result
        grids.append(GridView(result.logits, result.rows, result.cols))
    return tuple(grids)


def _label_settings(settings: PrelabelSettings) -> dict[str, Any]:
    """What of the settings changes labels, as it was asked for."""
    return {
        **deciding_settings(settings),
        "output_stride": settings.output_stride,
        "network_options": list(settings.network_options),
        "window": settings.views.window_rule(),
    }
