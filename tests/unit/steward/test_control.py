"""What commands and steward say to one another survives the way, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.errors import ResolveError, StewardError
from sandboxer.steward import control
from sandboxer.steward.control import Add, Exec, Listed, Open, Opened, Refused, Request, Revoke, Revoked, Tell
from sandboxer.steward.holders import Holder
from sandboxer.steward.ledger import Grant
from sandboxer.words import Origin, changed

PATHS = st.binary(min_size=1, max_size=30).map(lambda data: "/" + data.decode("utf-8", "surrogateescape"))
GRANT = Grant(
    number=1,
    kind="grant",
    source="/a\udcff",
    path="/b",
    write=True,
    device=False,
    mount=7,
    made=("/b",),
    deadline_ns=9,
)


@given(
    st.one_of(
        st.builds(Add, path=PATHS, write=st.booleans(), seconds=st.none() | st.integers(1, 10**9)),
        st.builds(Revoke, word=st.none() | PATHS),
        st.builds(Open, words=st.tuples(PATHS, PATHS), hidden=st.tuples(PATHS)),
        st.builds(Tell, words=st.tuples(PATHS)),
        st.builds(
            Exec, words=st.tuples(PATHS, PATHS), again=st.booleans(), directory=PATHS, terminal=st.text()
        ),
        st.just(control.Inspect()),
        st.just(control.Look()),
        st.just(control.Listing()),
    )
)
def test_a_request_comes_out_as_it_went_in(request: Request) -> None:
    assert request == control.decode_request(control.encode(request))


@pytest.mark.parametrize(
    "answer",
    [
        control.Looked(app="a", request=("app", "a"), documents=True),
        control.Added(grant=GRANT, instead="", covered=False, meaning="", seconds=None),
        Revoked(
            grants=(GRANT,),
            holders=(Holder(pid=1, program="p\udc80", path="/x", how="file"),),
            dropped=(),
            closed=True,
        ),
        Listed(grants=((GRANT, 5),), policy=()),
        Opened(words=("/x",)),
        control.Told(pid=3),
        control.Executed(pid=3),
        control.Inspected(
            request=("app", "a"),
            command=("/a\udcff",),
            flags=("joins",),
            limits=(("processes", 4096),),
            rules=(control.BrokerRule(may=("read",), what="/x", origin="f:1"),),
            hidden=("/y",),
        ),
        control.refusal(ResolveError("what", subject="on", origin=Origin("f", 1, "k"), hint="do")),
    ],
)
def test_an_answer_comes_out_as_it_went_in(answer: control.Answer) -> None:
    assert answer == control.decode_answer(control.encode(answer))


def test_a_refusal_is_the_same_error_again() -> None:
    error = StewardError("what", subject="on", origin=Origin("f", 1, "k"), hint="do")
    refused = control.decode_answer(control.encode(control.refusal(error)))
    assert isinstance(refused, Refused)
    assert error.render() == refused.error().render()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"null",
        b'{"type":"nothing"}',
        b'{"type":"looked","app":"a","request":[],"documents":true}',
        b'{"type":"add","path":"/x"}',
        b'{"type":"add","path":"/x","write":1,"seconds":null}',
        b'{"type":"add","path":"/x","write":true,"seconds":1.5}',
        b'{"type":"add","path":"/x","write":true,"seconds":null,"more":1}',
        b'{"type":"revoke","word":7}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_request_is_an_error(content: bytes) -> None:
    with pytest.raises(StewardError):
        control.decode_request(content)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    try:
        control.decode_request(content)
    except StewardError:
        return
    assert content.strip()[:1] == b"{"


def test_an_answer_that_would_be_too_large_tells_of_fewer_holders() -> None:
    held = tuple(Holder(pid=n, program="p", path="/" + "\x01" * 4000, how="file") for n in range(64))
    answer = control.decode_answer(
        control.encode_answer(Revoked(grants=(GRANT,), holders=held, dropped=(), closed=True, more=3))
    )
    assert isinstance(answer, Revoked)
    assert (67, (GRANT,)) == (len(answer.holders) + answer.more, answer.grants)
    assert 0 < len(answer.holders) < 64


def test_an_answer_that_stays_too_large_is_a_refusal() -> None:
    grants = tuple((changed(GRANT, source="/" + "\x01" * 4000), None) for _ in range(64))
    content = control.encode_answer(Listed(grants=grants, policy=()))
    assert isinstance(control.decode_answer(content), Refused)
    assert len(content) <= control.SIZE_MAX
