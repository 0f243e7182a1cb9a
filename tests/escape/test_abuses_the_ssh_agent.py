"""Attack: use the user's SSH agent for more than the one key that is named."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import COMMENTS, Agent, agent, text
from brokered import AskingBox, NoBox
from conftest import Asking

FAILURE, SIGN = b"\x05", b"\x0d"
LIST = b"\x0b"
OTHERS = {
    "list of version 1": b"\x01",
    "challenge of version 1": b"\x03" + bytes(40),
    "add of version 1": b"\x07" + bytes(40),
    "remove of version 1": b"\x08" + bytes(40),
    "remove all of version 1": b"\x09",
    "add": b"\x11" + text(b"ssh-ed25519") + text(bytes(32)) + text(bytes(64)) + text(b"c"),
    "remove": b"\x12" + text(bytes(51)),
    "remove all": b"\x13",
    "add of a card": b"\x14" + text(b"/tmp/provider.so") + text(b"pin"),
    "remove of a card": b"\x15" + text(b"/tmp/provider.so") + text(b"pin"),
    "lock": b"\x16" + text(b"password"),
    "unlock": b"\x17" + text(b"password"),
    "add with constraints": b"\x19" + text(b"ssh-ed25519") + bytes(40),
    "add of a card with constraints": b"\x1a" + text(b"/tmp/provider.so") + text(b"pin"),
    "extension": b"\x1b" + text(b"query"),
    "session binding": b"\x1b" + text(b"session-bind@openssh.com") + bytes(100),
    "a number that there isn't": b"\xff",
    "nothing": b"\x00",
    "an answer": b"\x0c" + struct.pack(">I", 0),
    "a signature": b"\x0e" + text(b"signed"),
    "a list with more": b"\x0b\x0b",
    "a list with a key": b"\x0b" + text(bytes(51)),
}
"""Messages that only the user may send."""


@pytest.fixture
def ssh_agent(session: dict[str, str], runtime_dir: Path) -> Iterator[Agent]:
    with agent(runtime_dir / "agent") as made:
        session["SSH_AUTH_SOCK"] = str(runtime_dir / "agent")
        yield made


@pytest.fixture
def box(asking: Asking, home: Path, ssh_agent: Agent) -> AskingBox:
    started = asking(f'connect = ["ssh-agent"]\nssh-agent-keys = ["{COMMENTS[0]}"]')
    started.has("agent_client")
    return started


def only_harmless(ssh_agent: Agent) -> bool:
    """What reached the agent: lists, and requests to sign with the named key."""
    named = SIGN + text(ssh_agent.blobs[0])
    return all(message == LIST or message.startswith(named) for message in ssh_agent.received)


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_nothing_but_lists_and_signatures_reaches_the_agent(
    box: AskingBox, ssh_agent: Agent, content: bytes
) -> None:
    assert box.eval(f"told({content!r})") == FAILURE
    assert [] == ssh_agent.received


def test_other_keys_neither_show_nor_sign(box: AskingBox, ssh_agent: Agent) -> None:
    assert [ssh_agent.blobs[0]] == [blob for blob, _ in box.eval("identities()")]
    assert box.eval(f"sign({ssh_agent.blobs[1]!r}, b'x')") is None
    assert box.eval("sign(b'', b'x')") is None
    assert only_harmless(ssh_agent)


@pytest.mark.parametrize(
    "made",
    [
        "blob + b'x'",
        "blob[:-1]",
        "text(blob)",
        "other + blob",
        "blob + other",
        "b'user@work'",
        "blob.upper()",
    ],
)
def test_a_blob_that_resembles_the_named_key_doesn_t_sign(box: AskingBox, ssh_agent: Agent, made: str) -> None:
    box.does(f"blob, other = {ssh_agent.blobs[0]!r}, {ssh_agent.blobs[1]!r}")
    assert box.eval(f"sign({made}, b'x')") is None
    assert only_harmless(ssh_agent)


@pytest.mark.parametrize(
    "content",
    [
        "SIGN + text(blob)",
        "SIGN + text(blob) + text(b'x')",
        "SIGN + text(blob) + text(b'x') + bytes(3)",
        "SIGN + text(blob) + text(b'x') + bytes(5)",
        "SIGN + text(blob) + text(b'x') + bytes(4) + text(other)",
        "SIGN + struct.pack('>I', 0xffffffff) + blob",
        "SIGN + struct.pack('>I', len(blob) + 10) + blob",
        "SIGN",
        "SIGN + text(blob) + struct.pack('>I', 1 << 31)",
    ],
)
def test_a_request_to_sign_that_isn_t_whole_goes_nowhere(box: AskingBox, ssh_agent: Agent, content: str) -> None:
    box.does(f"SIGN, blob, other = {SIGN!r}, {ssh_agent.blobs[0]!r}, {ssh_agent.blobs[1]!r}")
    assert box.eval(f"told({content})") == FAILURE
    assert [] == ssh_agent.received


@pytest.mark.parametrize("size", [0, 64 * 1024 + 1, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_that_can_t_be_ends_the_connection(box: AskingBox, ssh_agent: Agent, size: int) -> None:
    box.does(f"made = agent(); made.sendall(struct.pack('>I', {size}) + b'\\x0b')")
    assert box.eval("reply(made)") == b""
    assert [COMMENTS[0]] == [comment for _, comment in box.eval("identities()")], "others are served"


def test_several_requests_in_one_write_are_each_judged(box: AskingBox, ssh_agent: Agent) -> None:
    box.does(
        f"""
        blob, other = {ssh_agent.blobs[0]!r}, {ssh_agent.blobs[1]!r}
        asks = [b"\\x0b", b"\\x13", b"\\x0d" + text(blob) + text(b"1") + bytes(4),
                b"\\x0d" + text(other) + text(b"2") + bytes(4), b"\\x16" + text(b"p"), b"\\x0b"]
        made = agent()
        made.sendall(b"".join(map(text, asks)))
        answers = [reply(made)[:1] for _ in asks]
        """
    )
    assert [b"\x0c", FAILURE, b"\x0e", FAILURE, FAILURE, b"\x0c"] == box.eval("answers")
    assert only_harmless(ssh_agent)


def test_a_request_in_single_bytes_is_the_same_request(box: AskingBox, ssh_agent: Agent) -> None:
    box.does(
        f"""
        made = agent()
        for byte in text(b"\\x0d" + text({ssh_agent.blobs[1]!r}) + text(b"x") + bytes(4)):
            made.sendall(bytes([byte]))
        """
    )
    assert box.eval("reply(made)") == FAILURE
    assert only_harmless(ssh_agent)


def test_clients_that_say_half_or_read_nothing_keep_nobody_waiting(box: AskingBox, ssh_agent: Agent) -> None:
    box.does(
        """
        for number in range(40):
            kept.append(agent())
            kept[-1].sendall(struct.pack(">I", 100) + b"\\x0d")
        made = agent(timeout=1)
        try:
            for _ in range(20000):
                made.sendall(text(b"\\x0b"))
        except OSError:
            pass
        start = time.monotonic()
        names = None
        while names is None and time.monotonic() - start < 8:
            try:
                names = identities()
            except (OSError, AssertionError):
                time.sleep(0.1)
        """
    )
    assert [COMMENTS[0]] == [comment for _, comment in box.eval("names")]
    assert only_harmless(ssh_agent)


def test_the_agent_s_own_socket_is_not_in_the_box(box: AskingBox, session: dict[str, str]) -> None:
    path = session["SSH_AUTH_SOCK"]
    assert not box.eval(f"os.path.exists({path!r})")
    assert box.eval(f"raw(message(10, {path!r}))")[0] == "EACCES"
    assert box.eval(f"opens({path!r})") == "EACCES"


def test_a_policy_without_keys_makes_no_box(asking: Asking, home: Path, ssh_agent: Agent) -> None:
    with pytest.raises(NoBox, match="without naming keys"):
        asking('connect = ["ssh-agent"]')
    assert [] == ssh_agent.received
