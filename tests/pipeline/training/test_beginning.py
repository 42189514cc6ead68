"""What a network says before the first step: what the model said, of the classes of the data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from maskmill.pipeline.models.choice import ModelChoice
from maskmill.pipeline.models.loading import build_network
from maskmill.pipeline.models.model_folder import folder_spec, spec_document
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.training.defaults import (
    default_crop,
    default_epochs,
    default_rate,
    default_size,
)
from maskmill.pipeline.training.initialisation import initialise
from maskmill.pipeline.training.job import knows_all
from maskmill.pipeline.training.network import beginning, trained_spec
from maskmill.pipeline.training.recipe import Recipe
from maskmill.pipeline.training.samples import TRAIN, UNUSED, VALIDATE, roles_of
from maskmill.schemas.errors import ModelError, SettingsError
from maskmill.schemas.labels import LabelMap

KNOWN = LabelMap.from_names("known", ("background", "cat", "person"))
WANTED = LabelMap.from_names("wanted", ("background", "person", "kite", "tree"))
SPEC = replace(MODELS[DEFAULT_MODEL], own_labels=KNOWN)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "known.safetensors"
    save_file(build_network(SPEC, 3).state_dict(), path)
    return path


def begun(weights, labels):
    choice = ModelChoice(spec=SPEC, weights_path=weights, weights_sha256="", labels=KNOWN)
    return beginning(choice, weights, trained_spec(SPEC, labels, None), labels, seed=0)


def probabilities(network) -> torch.Tensor:
    picture = torch.rand((1, 3, 65, 65), generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        return network(picture).softmax(dim=1)[0]


@pytest.mark.thorough
def test_new_classes_share_what_was_background_and_nothing_else_moves(weights) -> None:
    """Two classes are new and `cat` is gone: of the others every ratio is as it was."""
    network = build_network(SPEC, 3)
    from safetensors.torch import load_file

    network.load_state_dict(load_file(weights))
    old, start = probabilities(network), begun(weights, WANTED)
    new = probabilities(start.network.eval())
    assert start.kept == ("background", "person")
    background, person = new[[0, 2, 3]].sum(0), new[1]
    torch.testing.assert_close(person / background, old[2] / old[0])
    torch.testing.assert_close(new[2], new[0])


def test_the_same_classes_begin_as_the_model_itself(weights) -> None:
    from safetensors.torch import load_file

    state = load_file(weights)
    started = begun(weights, KNOWN).network.state_dict()
    assert all(torch.equal(started[name], value) for name, value in state.items())


def test_a_folder_gives_back_the_spec_that_was_written(tmp_path, weights) -> None:
    import json

    spec = trained_spec(SPEC, WANTED, 257)
    document = spec_document(spec, WANTED, sha256="0" * 64, licence="MIT")
    (tmp_path / "model.json").write_text(json.dumps(document))
    found = folder_spec(str(tmp_path))
    assert replace(found, weights=None) == replace(spec, weights=None)
    assert found.weights.licence == "MIT" and found.weights.digest == "0" * 64
    for broken in ({**document, "format": "other"}, {**document, "alignment": "left"}, []):
        (tmp_path / "model.json").write_text(json.dumps(broken))
        with pytest.raises(ModelError, match="is no model of maskmill's"):
            folder_spec(str(tmp_path))


def test_splits_are_kept_and_test_is_left_alone() -> None:
    roles = roles_of(["train", "val", "test"])
    assert [roles.of("a", one) for one in ("train", "val", "test")] == [TRAIN, VALIDATE, UNUSED]
    named = roles_of(["a", "b", "c"], train=("a",), validate=("c",))
    assert [named.of("x", one) for one in ("a", "b", "c")] == [TRAIN, UNUSED, VALIDATE]


def test_without_a_split_a_share_is_measured_on_whatever_else_is_there() -> None:
    roles = roles_of(["", "test"], share=0.25)
    chosen = [roles.of(str(key), "") == VALIDATE for key in range(4000)]
    assert np.mean(chosen) == pytest.approx(0.25, abs=0.03)
    assert roles.of("1", "test") == UNUSED
    alone = roles_of([""], share=0.25)
    assert [alone.of(str(key), "") == VALIDATE for key in range(4000)] == chosen


@pytest.mark.parametrize(
    ("splits", "options", "sentence"),
    [
        (["test"], {}, "no split of the data is for training"),
        (["train"], {"validate": ("holdout",)}, "no such split; it has train"),
        (["a"], {"train": ("a",), "validate": ("a",)}, "both name a"),
    ],
)
def test_splits_that_cannot_be(splits, options, sentence) -> None:
    with pytest.raises(SettingsError, match=sentence):
        roles_of(splits, **options)


def test_small_pictures_are_not_blown_up_and_large_ones_keep_the_models_size() -> None:
    assert default_size(SPEC, 256) == 257 and default_size(SPEC, 257) == 257
    assert default_size(SPEC, 640) is None and default_size(SPEC, 512) is None


def test_epochs_are_some_minutes_on_a_cpu_and_never_none() -> None:
    assert default_epochs(80, 8, "cpu", 257) == 20 and default_epochs(80, 8, "cpu", 129) == 20
    assert default_epochs(80, 8, "cpu", 514) == 5  # four times the pixels, a quarter of the steps
    assert default_epochs(1_000_000, 8, "cpu", 257) == 1
    assert default_epochs(1, 8, "cuda", 513) == 200
    assert default_epochs(80, 8, "cpu", 257, is_trained=False) == 140


def test_new_classes_are_learnt_on_crops_that_a_cpu_makes_many_steps_of() -> None:
    size = SPEC.preprocessing.size
    assert default_crop(SPEC, "cpu", knows_all=False) == 257 < size
    assert default_crop(SPEC, "cpu", knows_all=True) == size
    assert default_crop(SPEC, "cuda", knows_all=False) == size
    small = replace(SPEC, preprocessing=SPEC.preprocessing.sized(129))
    assert default_crop(small, "cpu", knows_all=False) == 129


def test_a_signal_goes_through_a_network_drawn_without_batch_norm() -> None:
    """PyTorch's own draw lets next to nothing of it through: what is said is the biases."""
    choice = ModelChoice(
        spec=SPEC, weights_path=None, weights_sha256="", labels=KNOWN, weights_kind="untrained"
    )
    begun = beginning(choice, None, trained_spec(SPEC, KNOWN, None), KNOWN, seed=1)
    plain = build_network(SPEC, len(KNOWN.classes))
    noise = torch.rand((4, 3, 65, 65), generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        drawn, before = (
            net.eval()(noise).std(dim=(0, 2, 3)).mean() for net in (begun.network, plain)
        )
    assert 0.05 < drawn < 20 and before < drawn / 100
    again = beginning(choice, None, trained_spec(SPEC, KNOWN, None), KNOWN, seed=1).network
    assert all(map(torch.equal, begun.network.state_dict().values(), again.state_dict().values()))


def test_a_network_with_batch_norm_stays_as_it_was_built() -> None:
    with_norm = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = with_norm[0].weight.clone()
    initialise(with_norm)
    assert torch.equal(with_norm[0].weight, before)


def test_a_model_that_knows_every_class_learns_at_a_small_share_of_the_rate() -> None:
    choice = ModelChoice(spec=SPEC, weights_path=None, weights_sha256="", labels=KNOWN)
    some, more = (LabelMap.from_names("x", names) for names in (("other", "cat"), ("other", "dog")))
    assert knows_all(choice, some) and not knows_all(choice, more)
    assert not knows_all(replace(choice, weights_kind="untrained"), some)
    recipe = Recipe()
    assert default_rate(recipe, knows_all=True) == pytest.approx(3e-5)
    assert default_rate(recipe, knows_all=False) == 1e-3
    assert default_rate(Recipe(learning_rate=0.5), knows_all=True) == 0.5
