"""The broker's rules on their way through the plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.broker.rules import MAGIC, Outward, Rule, Rules, Service, decode, encode

text = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=20)
number = st.integers(0, 2**32 - 1)
anything = st.builds(
    Rules,
    app=text,
    log=text,
    paths=st.lists(
        st.builds(Rule, path=text, root=text, name=text, rights=number, follow=st.booleans(), origin=text), max_size=4
    ).map(tuple),
    hidden=st.lists(text, max_size=3).map(tuple),
    services=st.lists(
        st.builds(Service, name=text, path=text, origin=text, keys=st.lists(text, max_size=3).map(tuple)), max_size=3
    ).map(tuple),
    outward=st.lists(st.builds(Outward, kind=text, value=text, origin=text), max_size=3).map(tuple),
    program=st.binary(max_size=64),
)


def fields(record: object) -> object:
    """A record's values, for comparing."""
    if isinstance(record, tuple):
        return tuple(fields(each) for each in record)
    names = getattr(type(record), "__slots__", None)
    return {name: fields(getattr(record, name)) for name in names} if names else record


@given(anything)
def test_rules_come_out_as_they_went_in(rules: Rules) -> None:
    assert fields(rules) == fields(decode(encode(rules)))


@given(anything, st.data())
def test_rules_that_are_cut_short_are_refused(rules: Rules, data: st.DataObject) -> None:
    whole = encode(rules)
    size = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"cut short|no rules"):
        decode(whole[:size])


@given(anything)
def test_rules_that_go_on_are_refused(rules: Rules) -> None:
    with pytest.raises(ValueError, match="after their end"):
        decode(encode(rules) + b"\0")


@given(st.binary(max_size=200))
def test_nonsense_never_gives_rules_or_another_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"the rules|these are no rules|codec"):
        decode(MAGIC + b"\xff" + content)
