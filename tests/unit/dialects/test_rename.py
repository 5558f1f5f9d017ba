"""Only the model's name changes, wherever it stands and however the body is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallback.dialects.rename import rename_model

_texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["model", '"model": "x"', "\\", '{"model":', "]"]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    body=st.dictionaries(_texts, _values, max_size=4),
    model=_texts,
    new=_texts,
    ascii_=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_only_the_name_changes(
    body: dict[str, object], model: str, new: str, ascii_: bool, indent: int | None
) -> None:
    """Any body is the same but for its model, byte for byte on either side of it."""

    def spelled(name: str) -> str:
        renamed = {**body, "model": name}
        return json.dumps(renamed, ensure_ascii=ascii_, indent=indent)

    renamed = rename_model(spelled(model).encode(), new)
    assert json.loads(renamed) == {**body, "model": new}
    before, after = spelled(model).rsplit(json.dumps(model, ensure_ascii=ascii_), 1)
    if "model" not in body:
        assert renamed.startswith(before.encode())
        assert renamed.endswith(after.encode())


@pytest.mark.parametrize(
    ("body", "renamed"),
    [
        (b'{"model":"a"}', b'{"model":"b"}'),
        (b' { "model" :\r\n\t"a" , "n": 1.50e+1 } ', b' { "model" :\r\n\t"b" , "n": 1.50e+1 } '),
        (b'{"x":{"model":"a"},"model":"a"}', b'{"x":{"model":"a"},"model":"b"}'),
        (b'{"x":["model","a"],"y":"model"}', b'{"x":["model","a"],"y":"model"}'),
        (b'{"x":"\\"model\\":\\"a\\"","model":"\\\\"}', b'{"x":"\\"model\\":\\"a\\"","model":"b"}'),
        (b'{"\\u006dodel":"a"}', b'{"\\u006dodel":"b"}'),
        (b'{"model":"a","model":"c"}', b'{"model":"b","model":"b"}'),
        (b'{"model":null,"x":"a"}', b'{"model":null,"x":"a"}'),
        (b'{"model":{"x":"a"}}', b'{"model":{"x":"a"}}'),
        (b'{"messages":[]}', b'{"messages":[]}'),
        (b'["model","a"]', b'["model","a"]'),
        (b'{"model":"a', b'{"model":"a'),
        (b"\xff\x00", b"\xff\x00"),
    ],
)
def test_spellings(body: bytes, renamed: bytes) -> None:
    """White space, escapes, doubled and nested keys are heeded; what names no model stays."""
    assert rename_model(body, "b") == renamed


def test_a_name_with_quotes_is_escaped() -> None:
    """Whatever the new name is, the body stays JSON."""
    assert json.loads(rename_model(b'{"model":"a"}', 'b"\\\n')) == {"model": 'b"\\\n'}


@given(body=st.binary())
def test_any_bytes_are_survived(body: bytes) -> None:
    """What is no JSON at all is not made worse."""
    rename_model(body, "b")
