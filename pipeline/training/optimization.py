"""What moves the weights: the optimiser with its groups, and their moving average."""

import copy

import torch
from torch import Tensor, nn

from maskmill.pipeline.models.weights.state import classifier_name
from maskmill.pipeline.training.task import TrainingTask


def optimizer_of(task: TrainingTask, network: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW."""
    recipe = task.recipe
    groups = parameter_groups(network, weight_decay=recipe.weight_decay, head_rate=recipe.head_rate)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=task.learning_rate)
    return torch.optim.SGD(groups, lr=task.learning_rate, momentum=recipe.momentum)


def parameter_groups(
    network: nn.Module, *, weight_decay: float, head_rate: float
) -> list[dict[str, object]]:
    """Groups for an optimiser, each with its ``factor`` on the learning rate.

    The classifier learns ``head_rate`` times as fast. Vectors (biases, norms) do not decay.
    """
    head = classifier_name(network) + "."
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, values in network.named_parameters():
        factor = head_rate if name.startswith(head) else 1.0
        decay = weight_decay if values.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(values)
    return [
        {"params": params, "factor": factor, "weight_decay": decay}
        for (factor, decay), params in groups.items()
    ]


class WeightAverage:
    """An exponential moving average of a network's weights, a network of its own.

    The decay of step t is min(decay, (1 + t) / (10 + t)), so that the first steps count: as
    TensorFlow's ExponentialMovingAverage does with num_updates. Buffers are those of the network.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval()

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """After step ``step``, from 0."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(mine, theirs, share)
        for own, value in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(value)
