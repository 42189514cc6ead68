"""What a recipe leaves open, decided by model, data and device; every rule with its reason."""

from typing import Final

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.training.recipe import Recipe
from maskmill.pipeline.views.preprocessing import MIN_SIZE

CPU_STEPS: Final = 300
"""A laptop's training ends in minutes: so many steps, or one epoch where that is more."""

GPU_STEPS: Final = 8000
MAX_EPOCHS: Final = 200
MOST_WARM_UP: Final = 200
SMALL_BATCH: Final = 16
"""Below so many pictures per worker the statistics of batch norm are too noisy to learn from."""

RATES: Final = {"sgd": 0.003, "adamw": 1e-3}


def default_epochs(samples: int, batch_size: int, device: str) -> int:
    """So many that the steps come to CPU_STEPS or GPU_STEPS, between 1 and MAX_EPOCHS."""
    per_epoch = -(-samples // batch_size)
    steps = CPU_STEPS if device == "cpu" else GPU_STEPS
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


def default_crop(spec: ModelSpec, device: str) -> int:
    """The side of the network's input; half of it on a CPU, where a step costs its square."""
    size = spec.preprocessing.size
    half = size // 2 + 1
    return half if device == "cpu" and size > 320 else size


def default_rate(recipe: Recipe) -> float:
    """Of the optimiser."""
    return RATES[recipe.optimizer] if recipe.learning_rate is None else recipe.learning_rate


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
