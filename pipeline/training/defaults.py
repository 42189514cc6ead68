"""What a recipe leaves open, decided by model, data and device; every rule with its reason."""

from typing import Final

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.training.recipe import Recipe
from maskmill.pipeline.views.preprocessing import MIN_SIZE

CPU_STEPS, CPU_CROP = 200, 257
"""A laptop's training ends in minutes: so many steps of so large a crop, fewer of larger ones, or
one epoch where that is more."""

GPU_STEPS: Final = 8000
UNTRAINED_TIMES: Final = 7
"""As many steps as of a trained network: there is nothing to begin from."""

MAX_EPOCHS: Final = 200
MOST_WARM_UP: Final = 200
SMALL_BATCH: Final = 16
"""Below so many pictures per worker the statistics of batch norm are too noisy to learn from."""

RATES: Final = {"sgd": 0.003, "adamw": 1e-3}
KNOWN_SHARE: Final = 0.03
"""Of the rate where the model knows every class: it is corrected, and has more to forget than to
learn. On 60 photographs of people validation fell from 0.89 to 0.85 at a tenth of the rate, on
crops of half the side; at this share, on whole ones, held-out pictures rose."""


def default_epochs(
    samples: int, batch_size: int, device: str, crop: int, *, is_trained: bool = True
) -> int:
    """So many that the steps come to CPU_STEPS or GPU_STEPS, between 1 and MAX_EPOCHS.

    On a CPU a step of a crop larger than CPU_CROP counts as many times as it has its pixels. A
    network with random weights takes UNTRAINED_TIMES as many.
    """
    per_epoch = -(-samples // batch_size)
    on_cpu = CPU_STEPS / max(1.0, (crop / CPU_CROP) ** 2)
    steps = (on_cpu if device == "cpu" else GPU_STEPS) * (1 if is_trained else UNTRAINED_TIMES)
    return max(1, min(MAX_EPOCHS, round(steps / per_epoch)))


def default_size(spec: ModelSpec, longest_side: int) -> int | None:
    """The size of the new model's input where it is not the model's own; None where it is.

    A model that scales every picture to its longest side would only blow up pictures that are all
    smaller: what is learnt then costs more and shows no more. ``longest_side`` is the median of
    the training pictures; the size is the next of the form 16 k + 1, at which grids of all output
    strides meet the picture's corners.
    """
    rule = spec.preprocessing
    size = max(MIN_SIZE + 1, -(-(longest_side - 1) // 16) * 16 + 1)
    return size if rule.resize == "longest_side" and size < rule.size else None


def default_crop(spec: ModelSpec, device: str, *, knows_all: bool) -> int:
    """The side of the network's input; where a CPU learns new classes, CPU_CROP at most.

    Pooling over the whole picture is then over what the network will see. But new classes need
    many steps, and one of half the side costs a quarter: on the 367 frames of SegNet's CamVid 184
    steps of 257 reached a test mIoU of 0.43, 46 of 481 took as long for 0.38. One new class needs
    fewer: people under a name that the model lacks came to 0.907, and by whole pictures to 0.921.
    What a model knows already it forgets on parts of pictures; see KNOWN_SHARE.
    """
    size = spec.preprocessing.size
    return min(size, CPU_CROP) if device == "cpu" and not knows_all else size


def default_rate(recipe: Recipe, *, knows_all: bool) -> float:
    """Of the optimiser; ``knows_all``: the model has a row for every class of the data."""
    if recipe.learning_rate is not None:
        return recipe.learning_rate
    return RATES[recipe.optimizer] * (KNOWN_SHARE if knows_all else 1.0)


def default_warm_up(recipe: Recipe, steps: int) -> int:
    """A twentieth of the steps: new rows of the classifier begin with large gradients."""
    return min(MOST_WARM_UP, steps // 20) if recipe.warm_up is None else recipe.warm_up


def default_batch_norm(recipe: Recipe, *, is_trained: bool, workers: int) -> str:
    """Frozen where a worker sees few pictures at once; an untrained network has none to freeze.

    To keep one worker in step with itself is to let it learn.
    """
    if recipe.batch_norm == "sync" and workers == 1:
        return "train"
    if recipe.batch_norm != "auto":
        return recipe.batch_norm
    small = recipe.batch_size // workers < SMALL_BATCH
    return "frozen" if is_trained and small else "train"
