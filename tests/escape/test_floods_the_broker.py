"""
Attack: keep the broker from serving others: connections, descriptors and messages by the thousand, clients that never
send, and some that never read.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from brokered import AskingBox, status_of
from companions import children_of, init_of, wait_until_gone
from conftest import Asking

WITHIN_S = 5.0
"""How long another client of the same box may have to wait; of another box, not at all."""
SHARED = 'read = ["~/shared"]\nlist = ["~/shared"]'


@pytest.fixture
def box(asking: Asking, home: Path) -> AskingBox:
    started = asking(SHARED)
    started.has("flood")
    started.eval("client.hello()")
    return started


def still_serves(box: AskingBox, home: Path, broker: int) -> None:
    """The same broker, with no more descriptors than ever, still hands out what it is to hand out."""
    assert broker == box.broker()
    assert int(status_of(broker)["FDSize"]) <= 256
    assert box.eval(f"read({str(home / 'shared/granted.txt')!r})") == b"granted"


def test_ten_thousand_connections_keep_nobody_from_being_served(box: AskingBox, home: Path) -> None:
    broker = box.broker()
    assert 10_000 == box.eval_long("connect_and_leave(10000)", 60)
    assert box.eval_long("served_after()", 40) < WITHIN_S
    still_serves(box, home, broker)


def test_silent_connections_make_room(box: AskingBox, home: Path) -> None:
    broker = box.broker()
    count = box.eval_long("hold(10000)", 60)
    assert count > 500, "as many as this system's limits permit"
    assert box.eval_long("served_after()", 40) < WITHIN_S
    still_serves(box, home, broker)
    assert int(status_of(broker)["VmHWM"].split()[0]) < 64 * 1024


def test_who_is_served_already_goes_on_during_a_flood(box: AskingBox, home: Path) -> None:
    broker = box.broker()
    box.does("thread = threading.Thread(target=lambda: kept.append(slowest(3))); thread.start()")
    box.eval_long("connect_and_leave(3000)", 40)
    box.eval_long("never_read(5000)", 40)
    assert box.eval_long("thread.join() or kept[-1]", 30) < 1.0
    still_serves(box, home, broker)


def test_another_box_is_not_concerned(box: AskingBox, asking: Asking, home: Path) -> None:
    other = asking(SHARED, name="other")
    other.has("flood")
    box.eval_long("hold(2000)", 40)
    assert other.eval_long("served_after()", 40) < 1.0
    assert box.broker() != other.broker()


@pytest.mark.parametrize("each", [1, 16, 253])
def test_descriptors_that_are_sent_along_are_not_taken(box: AskingBox, home: Path, each: int) -> None:
    """The other end of each pipe is read to its end: the broker holds none of them."""
    broker = box.broker()
    answers = box.eval_long(f"pass_descriptors(100, {each})", 30)
    assert [("EPROTO", 0), ("held", b"")] == answers
    still_serves(box, home, broker)


def test_descriptors_that_wait_in_a_connection_that_is_not_read_go_with_it(box: AskingBox, home: Path) -> None:
    """A thousand messages with descriptors, and the client ends before it has read one answer."""
    broker = box.broker()
    box.does(
        """
        reader, writer = os.pipe()
        for _ in range(100):
            one = connection()
            try:
                for _ in range(10):
                    one.sendmsg([message(0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer] * 20))])
            except (BrokenPipeError, ConnectionResetError):
                pass
            one.close()
        os.close(writer)
        """
    )
    assert box.eval("select.select([reader], [], [], 5)[0] == [reader] and os.read(reader, 1)") == b""
    still_serves(box, home, broker)


def test_nonsense_is_answered_or_hung_up_on_and_harms_nobody(box: AskingBox, home: Path) -> None:
    broker = box.broker()
    answers = box.eval_long("nonsense(4711, 3000)", 60)
    assert 3000 == sum(answers.values())
    assert {"EPROTO", "EPROTONOSUPPORT"} <= set(answers)
    assert set(answers) <= {"EPROTO", "EPROTONOSUPPORT", "EINVAL", "EACCES", "0"}
    assert answers.get("0", 0) < 300, "bits that mean nothing for HELLO"
    still_serves(box, home, broker)


def test_clients_that_never_read_are_hung_up_on(box: AskingBox, home: Path) -> None:
    broker = box.broker()
    for _ in range(5):
        assert box.eval_long("never_read(20000)", 30) < 20000
    still_serves(box, home, broker)


def test_a_request_in_pieces_is_none(box: AskingBox, home: Path) -> None:
    """A message is a message: half of one isn't waited for."""
    box.does("made = connection(); whole = message(0); made.send(whole[:6])")
    assert "EPROTO" == box.eval("errno.errorcode[answer(made)[0]]")
    assert box.eval("error(made.send, whole[6:]) or answer(made)") in ("EPIPE", "error ECONNRESET", (None, b"", []))


def test_a_megabyte_is_refused_by_the_kernel_or_the_broker(box: AskingBox, home: Path) -> None:
    broker = box.broker()
    box.does("made = connection()")
    assert box.eval("error(made.send, bytes(1 << 20)) or errno.errorcode[answer(made)[0]]") in ("EMSGSIZE", "EPROTO")
    still_serves(box, home, broker)


def test_the_log_of_a_flood_stays_small(box: AskingBox, home: Path) -> None:
    name = "/" + "n" * 4000
    box.does(
        f"""
        def many(count):
            with connection() as one:
                for _ in range(count):
                    one.send(message(1, {name!r}, flags=1))
                    assert answer(one)[0] == errno.EACCES
        """
    )
    box.eval_long("many(4000)", 40)
    sizes = {file.name: file.stat().st_size for file in box.log_file.parent.iterdir()}
    assert {"asker.log", "asker.log.1"} == set(sizes)
    assert max(sizes.values()) <= 4 * 1024 * 1024


def test_nothing_of_a_flooded_box_is_left_when_it_ends(box: AskingBox) -> None:
    box.eval_long("hold(500)", 40)
    first = init_of(box.process)
    pids = [first, *children_of(first), box.broker()]
    assert len(pids) >= 3
    box.end()
    for pid in pids:
        wait_until_gone(pid)
