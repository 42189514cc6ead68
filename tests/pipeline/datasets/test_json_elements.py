"""Arrays of a large JSON document, element by element, equal to json.loads at any window size."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.datasets.documents import json_elements as module
from maskmill.pipeline.datasets.documents.json_elements import json_elements
from maskmill.schemas.errors import DocumentFailure

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def elements(data: bytes) -> list:
    return list(json_elements(lambda start, length: data[start : start + length], "doc.json"))


@given(
    document=st.dictionaries(st.text(), JSON, max_size=5),
    escaped=st.booleans(), indent=st.sampled_from([None, 0, 3]), window=st.integers(1, 40),
    mark=st.booleans(),
)  # fmt: skip
def test_equal_to_json_loads(
    document: dict, escaped: bool, indent: int | None, window: int, mark: bool
) -> None:
    try:
        data = json.dumps(document, ensure_ascii=escaped, indent=indent).encode()
    except UnicodeEncodeError:
        return  # lone surrogates have no UTF-8
    data = b"\xef\xbb\xbf" * mark + data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", window)
        found = elements(data)
    again: dict = {}
    for one in found:
        assert json.loads(data[one.start : one.start + one.length]) == one.value
        if isinstance(document[one.array], list):
            again.setdefault(one.array, []).append(one.value)
        else:
            again[one.array] = one.value
    assert again == {key: value for key, value in document.items() if value != []}


def test_a_list_at_the_top() -> None:
    assert [(one.array, one.value) for one in elements(b'[{"a": 1}, 2]')] == [
        ("", {"a": 1}),
        ("", 2),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"nonsense", b'{"a": [1, 2', b'{"a": [1 2]}', b'{"a": {"b"}}', b'{"a": 1', b'{"a" 1}',
        b'{"a": ["\xff\xfe"]}', b'{"a": ' + b"[" * 5000, b'{"a": ["unfinished',
    ],
)  # fmt: skip
def test_broken_documents(data: bytes) -> None:
    with pytest.raises(DocumentFailure, match=r"doc\.json"):
        elements(data)


def test_an_element_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 64)
    monkeypatch.setattr(module, "LARGEST_ELEMENT", 1000)
    with pytest.raises(DocumentFailure, match="larger than"):
        elements(b'{"a": ["' + b"x" * 100_000 + b'"]}')
