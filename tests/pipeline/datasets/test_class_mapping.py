"""One lookup table: total, never chained, never applied twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.datasets.class_mapping import (
    build_mapping,
    identity_mapping,
    map_mask,
    mapping_by_name,
    read_rules,
)
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError
from maskmill.schemas.labels import LabelMap

SOURCE = LabelMap.from_names("pets", ["background", "cat", "dog", "tree", "car"])


def test_rename_merge_drop_ignore() -> None:
    rules = {"cat": "animal", "dog": "animal", "tree": "@background", "car": "@ignore"}
    mapping = build_mapping(SOURCE, rules)
    assert mapping.target.names == ("background", "animal")
    mask = np.array([[0, 1, 2, 3, 4, 255]], np.uint8)
    assert map_mask(mask, SOURCE, mapping).tolist() == [[0, 1, 1, 0, 255, 255]]


def test_swapping_names_is_not_chained() -> None:
    """cat -> dog and dog -> cat applied one after another would make all of them cats."""
    mapping = build_mapping(SOURCE, {"cat": "dog", "dog": "cat", "*": "@keep"})
    names = [
        mapping.target.names[index]
        for index in map_mask(np.array([[1, 2]], np.uint8), SOURCE, mapping)[0]
    ]
    assert names == ["dog", "cat"]


@given(st.permutations(range(5)), st.data())
def test_equal_to_a_per_pixel_dictionary(order: list[int], data: st.DataObject) -> None:
    target = LabelMap.from_names("other", [SOURCE.names[index] for index in order], background=None)
    rules = {name: name for name in SOURCE.names}
    mapping = build_mapping(SOURCE, rules, target)
    values = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 255]), min_size=1, max_size=30))
    found = map_mask(np.array([values], np.uint8), SOURCE, mapping)[0].tolist()
    wanted = [255 if v == 255 else target.index_of(SOURCE.names[v]) for v in values]
    assert found == wanted


def test_a_mapping_is_not_applied_twice() -> None:
    mapping = build_mapping(SOURCE, {"cat": "dog", "*": "@keep"})
    mask = map_mask(np.array([[1]], np.uint8), SOURCE, mapping)
    with pytest.raises(ValueError, match="met masks"):
        map_mask(mask, mapping.target, mapping)


def test_a_class_without_a_rule_is_named() -> None:
    with pytest.raises(SettingsError, match="nothing about dog, tree, car"):
        build_mapping(SOURCE, {"cat": "animal"})


def test_a_rule_for_a_class_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="horse"):
        build_mapping(SOURCE, {"horse": "animal", "*": "@keep"})


def test_a_target_class_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="cat"):
        mapping_by_name(SOURCE, LabelMap.from_names("small", ["background", "dog"]))


def test_merging_keeps_ids_unique_and_above_zero() -> None:
    mapping = build_mapping(SOURCE, {"cat": "a", "dog": "b", "tree": "a", "car": "c"})
    ids = [entry.category_id for entry in mapping.target.classes if not entry.is_background]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0


def test_to_more_than_255_classes_and_back() -> None:
    many = LabelMap.from_names("many", [*SOURCE.names, *(f"c{n}" for n in range(300))])
    wide = mapping_by_name(SOURCE, many)
    mask = np.array([[0, 4, 255]], np.uint8)
    found = map_mask(mask, SOURCE, wide)
    assert found.dtype == np.uint16
    assert found.tolist() == [[0, 4, 65535]]
    rules = {f"c{n}": "@ignore" for n in range(300)} | {"*": "@keep"}
    back = map_mask(found, many, build_mapping(many, rules, SOURCE))
    assert back.dtype == np.uint8
    assert np.array_equal(back, mask)


def test_values_outside_the_classes_are_named() -> None:
    with pytest.raises(MaskFailure, match=r"\[5, 9\]") as caught:
        map_mask(np.array([[0, 5, 9]], np.uint8), SOURCE, identity_mapping(SOURCE))
    assert caught.value.code is ErrorCode.UNKNOWN_VALUE


def test_map_files() -> None:
    lines = "# pets\ncat = animal\n\n  a = b = animal\n* = @keep\n"
    assert read_rules(lines, "m") == {"cat": "animal", "a = b": "animal", "*": "@keep"}
    assert read_rules('{"cat": "x", "dog": null}', "m") == {"cat": "x", "dog": "@background"}


@pytest.mark.parametrize(
    "text", ["cat\n", "cat = \n", "cat = a\ncat = b\n", '{"cat": 3}', '{"cat": "a", "cat": "b"}',
             "{not json"],
)  # fmt: skip
def test_map_files_that_cannot_be(text: str) -> None:
    with pytest.raises(SettingsError):
        read_rules(text, "m")
