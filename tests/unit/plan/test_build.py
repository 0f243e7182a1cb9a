"""Operations in order, once each, without contradictions."""

from __future__ import annotations

import pytest

from sandboxer.errors import ResolveError
from sandboxer.plan.build import anchored, ordered, variables
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind
from sandboxer.words import BoxPath, HostPath, Origin

D = OpFlag.DIRECTORY


def op(kind: OpKind, path: str, source: str = "", flags: OpFlag = OpFlag(0), mode: int = 0) -> Op:
    return Op(
        kind=kind,
        box_path=BoxPath(path),
        source=HostPath(source),
        flags=flags,
        mode=mode,
        origin=Origin(f"{path}.toml"),
    )


def bind(path: str, source: str = "", flags: OpFlag = D) -> Op:
    return op(OpKind.BIND, path, source or path, flags)


def paths(*ops: Op) -> list[str]:
    return [str(one.box_path) for one in ordered(ops)]


def test_parents_come_before_children_by_components() -> None:
    assert ["/a", "/a/b", "/a-b"] == paths(bind("/a-b", "/x"), bind("/a/b", "/y"), bind("/a"))


def test_a_cover_comes_after_what_it_covers() -> None:
    hidden = op(OpKind.HIDE, "/a/b")
    assert [OpKind.BIND, OpKind.HIDE] == [one.kind for one in ordered((hidden, bind("/a")))]


def test_the_same_thing_twice_is_done_once() -> None:
    assert ["/a"] == paths(bind("/a"), bind("/a"))


def test_a_write_beats_a_read_and_says_who_asked() -> None:
    (merged,) = ordered((bind("/a"), bind("/a", flags=D | OpFlag.WRITE)))
    assert D | OpFlag.WRITE == merged.flags


def test_noexec_holds_only_when_both_want_it() -> None:
    (merged,) = ordered((bind("/a", flags=D | OpFlag.NOEXEC), bind("/a")))
    assert D == merged.flags


def test_different_contents_at_one_path_contradict_and_both_lines_are_named() -> None:
    with pytest.raises(ResolveError, match="contradict") as caught:
        ordered((bind("/a", "/x"), bind("/a", "/y")))
    assert "/x" in caught.value.subject
    assert "/y" in caught.value.subject


@pytest.mark.parametrize("other", [OpKind.FILE, OpKind.LINK, OpKind.OWN, OpKind.PROC])
def test_different_kinds_at_one_path_contradict(other: OpKind) -> None:
    with pytest.raises(ResolveError, match="contradict"):
        ordered((bind("/a"), op(other, "/a")))


def test_a_directory_gives_way_to_a_mount() -> None:
    assert [OpKind.OWN] == [
        one.kind for one in ordered((op(OpKind.DIR, "/a"), op(OpKind.OWN, "/a", mode=0o755)))
    ]


@pytest.mark.parametrize("kind", [OpKind.OWN, OpKind.FILE, OpKind.LINK, OpKind.DIR])
def test_nothing_of_the_box_s_own_lies_in_something_of_the_host_s(kind: OpKind) -> None:
    with pytest.raises(ResolveError, match="things of its own"):
        ordered((bind("/a"), op(kind, "/a/b/c")))


def test_a_bind_that_shows_what_is_shown_already_is_left_out() -> None:
    assert ["/a"] == paths(bind("/a", "/x"), bind("/a/b", "/x/b"))


def test_a_bind_that_shows_it_in_another_way_stays() -> None:
    assert ["/a", "/a/b"] == paths(bind("/a", "/x"), bind("/a/b", "/x/b", D | OpFlag.WRITE))
    assert ["/a", "/a/b"] == paths(bind("/a", "/x", D | OpFlag.WRITE), bind("/a/b", "/x/b"))
    assert ["/a", "/a/b", "/a/b/c"] == paths(bind("/a", "/x"), bind("/a/b", "/y"), bind("/a/b/c", "/x/b/c"))


def test_a_grant_beneath_a_cover_is_refused() -> None:
    with pytest.raises(ResolveError, match="inside what it hides"):
        ordered((bind("/a"), op(OpKind.HIDE, "/a/b"), bind("/a/b/c", "/y")))


def test_the_last_value_of_a_variable_holds() -> None:
    entries = (
        EnvEntry(kind=EnvKind.PASS, name="A"),
        EnvEntry(kind=EnvKind.PASS_PREFIX, name="A"),
        EnvEntry(kind=EnvKind.SET, name="A", value="x"),
    )
    assert (entries[2], entries[1]) == variables(entries)


W = D | OpFlag.WRITE


def test_what_lies_on_the_way_to_a_cover_is_mounted_on_itself() -> None:
    ops = anchored((bind("/w", flags=W), op(OpKind.HIDE, "/w/a/b/c")), BoxPath("/home/ann"))
    assert [("/w", W), ("/w/a", W), ("/w/a/b", W), ("/w/a/b/c", OpFlag(0))] == [
        (str(one.box_path), one.flags) for one in ops
    ]
    assert ["/w/a", "/w/a/b"] == [str(one.source) for one in ops[1:3]]


def test_nothing_that_is_read_only_becomes_writable_by_it() -> None:
    given = (bind("/w", flags=W), bind("/w/a"), op(OpKind.HIDE, "/w/a/b/c"))
    assert given == anchored(given, BoxPath("/home/ann"))


def test_a_private_home_is_the_application_s_to_arrange() -> None:
    given = (bind("/home/ann", "/data/home", W), bind("/home/ann/a/b", "/srv/b"))
    assert given == anchored(given, BoxPath("/home/ann"))


def test_a_socket_of_the_broker_s_is_made_by_the_box_and_not_in_what_is_the_host_s() -> None:
    listen = op(OpKind.LISTEN, "/run/sandboxer/broker", "broker", mode=0o600)
    assert (op(OpKind.OWN, "/run"), listen) == ordered((listen, op(OpKind.OWN, "/run")))
    with pytest.raises(ResolveError, match="things of its own"):
        ordered((listen, bind("/run")))


def test_a_connection_is_left_as_it_is() -> None:
    connect = op(OpKind.CONNECT, "/dev/fd/100", "/run/user/1000/wayland-0", mode=100)
    fd = op(OpKind.LINK, "/dev/fd", "/proc/self/fd")
    assert (fd, connect) == ordered((connect, fd))
