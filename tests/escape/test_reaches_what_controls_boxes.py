"""Attack: from inside a box to the sockets of brokers and stewards, its own and another's, and to what lies behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from brokered import AskingBox, NoBox
from conftest import Asking

SHARED = 'read = ["~/shared"]\nlinks = ["https"]'
LOOK = b'{"type":"look"}'
OWN = ["/run/sandboxer/broker"]
REFUSED = ("EPROTO", "EPROTONOSUPPORT")


@pytest.fixture
def box(asking: Asking, home: Path) -> AskingBox:
    started = asking(SHARED)
    started.has("sockets")
    started.eval("client.hello()")
    return started


def test_the_only_socket_is_the_box_s_own_broker(box: AskingBox, asking: Asking) -> None:
    other = asking(SHARED, name="other")
    other.eval("client.hello()")
    assert OWN == box.eval_long("reachable()", 60)


def test_with_the_machine_s_network_names_are_listed_and_of_no_use(asking: Asking, home: Path) -> None:
    """The kernel tells names of the sockets in the box's network namespace, which is the machine's then."""
    other = asking(SHARED, name="other")
    other.eval("client.hello()")
    box = asking(SHARED, more='[network]\naccess = "host"')
    box.has("sockets")
    box.eval("client.hello()")
    names = box.eval("in_proc()")
    places = box.eval_long("reachable(('/run', '/tmp', '/home'))", 60)
    assert OWN == [place for place in places if "sandboxer" in place]
    abstract = "[name for name in in_proc() if name.startswith('@') and connected(chr(0) + name[1:])]"
    assert [] == box.eval_long(abstract, 60)
    assert any(name.endswith("/control") for name in names), "by names that lead nowhere but in the launcher"


def test_each_box_is_answered_by_its_own_broker(box: AskingBox, asking: Asking, home: Path) -> None:
    """The same path inside, and each has the rules of its own policy."""
    other = asking('read = ["~/Documents"]', name="other")
    granted, diary = str(home / "shared/granted.txt"), str(home / "Documents/diary.txt")
    assert ("ok", "EACCES") == (box.eval(f"opens({granted!r})"), box.eval(f"opens({diary!r})"))
    assert ("EACCES", "ok") == (other.eval(f"opens({granted!r})"), other.eval(f"opens({diary!r})"))
    assert {"asker"} == {line["app"] for line in box.log()}


def test_the_broker_has_no_name_outside_that_another_box_could_be_shown(
    box: AskingBox, runtime_dir: Path
) -> None:
    found = [path.name for path in runtime_dir.rglob("*") if path.is_socket()]
    assert ["control"] == found


def test_the_state_of_boxes_is_never_shown(asking: Asking, home: Path, runtime_dir: Path) -> None:
    """By a grant of the directory that it lies in: connecting to a socket needs no right to write."""
    other = asking(SHARED, name="other")
    state = other.state
    for place in (runtime_dir / "sandboxer", state, state / "control"):
        with pytest.raises(NoBox, match="refuses to show what boxes are controlled by"):
            asking(SHARED, files=f'read = ["~/lib", "{place}"]', name="third")
    for place in (runtime_dir, runtime_dir.parent):
        with pytest.raises(NoBox, match="refuses to show the directory in which the session is controlled"):
            asking(SHARED, files=f'read = ["~/lib", "{place}"]', name="third")
    assert [] == other.companions("steward"), "nothing reached it"


@pytest.mark.parametrize("grant", ['home = "host"', 'read = ["~/lib", "~/.cache"]'])
def test_state_in_the_cache_directory_is_covered_too(asking: Asking, home: Path, grant: str) -> None:
    """Without a runtime directory, boxes are known in ~/.cache/sandboxer."""
    env = {"XDG_RUNTIME_DIR": "", "XDG_CACHE_HOME": str(home / ".cache")}
    other = asking(SHARED, name="other", env=env)
    state = home / ".cache/sandboxer/boxes" / f"other.{other.id}"
    assert (state / "control").is_socket()
    with pytest.raises(NoBox, match="refuses to show what boxes are controlled by"):
        asking(SHARED, files='read = ["~/lib", "~/.cache/sandboxer"]', env=env, name="third")
    box = asking(SHARED, files=grant, env=env)
    box.has("sockets")
    assert [] == box.eval(f"[path for path in in_tree([{str(home)!r}]) if 'control' in path]")
    assert box.eval(f"error(said, {str(state / 'control')!r}, {LOOK!r})") in ("ENOENT", "EACCES")
    own = home / ".cache/sandboxer/boxes" / f"asker.{box.id}" / "control"
    assert box.eval(f"error(said, {str(own)!r}, {LOOK!r})") in ("ENOENT", "EACCES")
    assert [] == other.companions("steward")


def test_the_broker_s_log_and_its_state_are_covered(asking: Asking, home: Path) -> None:
    """A home that is shown as it is has neither, once they are there: a directory that isn't can't be covered."""
    asking(SHARED, name="other").eval("client.hello()")
    box = asking(SHARED, files='home = "host"\nread = ["~/lib"]')
    box.eval("client.hello()")
    log = str(home / ".local/state/sandboxer")
    assert box.eval(f"os.path.isdir({log!r}) and os.listdir({log!r})") in (False, [])
    assert box.eval(f"opens({log + '/broker/asker/asker.log'!r})") == "EACCES"


@pytest.mark.parametrize("key", ["read", "write", "list"])
def test_the_broker_opens_neither_its_own_state_nor_another_s(
    asking: Asking, home: Path, runtime_dir: Path, key: str
) -> None:
    """Whatever the rules say: by a rule for all of the runtime directory, or of the state directory."""
    other = asking(SHARED, name="other")
    lines = f'{key} = ["{runtime_dir}", "~/.local"]'
    if key == "write":
        with pytest.raises(NoBox, match="refuses"):
            asking(lines)
        return
    box = asking(lines)
    box.has("sockets")
    for path in (
        other.state / "box",
        other.state / "control",
        home / ".local/state/sandboxer/broker/asker/asker.log",
    ):
        assert box.eval(f"opens({str(path)!r}, 1)") in ("EACCES", "ENXIO")
        assert box.eval(f"opens({str(path)!r}, 2)") == "EACCES"
    assert box.eval(f"error(client.listdir, {str(other.state)!r})") == "EACCES"
    plans = sorted((runtime_dir / "sandboxer/plans").iterdir())
    assert box.eval(f"opens({str(plans[0])!r}, 1)") == "EACCES"


def test_no_descriptor_of_the_application_is_an_end_of_ours(box: AskingBox) -> None:
    """The pairs between broker, steward and the box's first process are nowhere in the box."""
    assert [] == box.eval(
        "[name for name in os.listdir('/proc/self/fd') if os.path.islink('/proc/self/fd/' + name)"
        " and 'socket' in os.readlink('/proc/self/fd/' + name) and int(name) not in "
        "[one._channel._socket.fileno() for one in (client._shared,) if one._channel._socket]]"
    )
    assert box.eval("error(os.listdir, '/proc/1/fd')") in ("EACCES", "EPERM")
    assert box.eval("error(os.open, '/proc/1/mem', os.O_RDONLY)") in ("EACCES", "EPERM")


@pytest.mark.parametrize("number", [0, 1, 4711, 0xFFFFFFFF])
def test_an_answer_of_the_steward_s_can_t_be_forged(box: AskingBox, number: int) -> None:
    """The message that the steward would send, to the broker: it is a malformed request there."""
    assert box.eval(f"raw(struct.pack('=Ii', {number}, 0))")[0] in REFUSED
    assert box.eval(f"raw(struct.pack('=II', {number}, 1) + b'https://example.org')")[0] in REFUSED
    assert [] == box.companions("steward"), "nothing was passed on"


def test_an_order_can_t_be_given_from_inside(box: AskingBox) -> None:
    """To pid 1, as the steward gives them: by the broker's socket, and by any socket that there is."""
    assert box.eval("raw(b'Xtouch\\0/tmp/ordered\\0')")[0] in REFUSED
    assert not box.eval("os.path.exists('/tmp/ordered')")


def test_signals_from_the_box_reach_neither_broker_nor_monitor(box: AskingBox) -> None:
    """By the numbers that they have outside: in the box these are others, or nobody's."""
    broker, monitor = box.broker(), int(box.id)
    for pid in (broker, monitor, os.getpid()):
        assert box.eval(f"error(os.kill, {pid}, 9)") in ("ESRCH", "EPERM", "")
    assert (broker, None) == (box.broker(), box.process.poll())
