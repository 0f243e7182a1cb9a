"""Connections to services, the SSH agent, and links and files opened outside, by the broker of a real box."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import COMMENTS, Agent, agent
from brokered import Opened, echo, listener
from conftest import Asking, missing
from running import within

from sandboxer.broker.server import AGAIN_S

SERVICES = {"wayland": "wayland-7", "pulseaudio": "pulse/native", "pipewire": "pipewire-0"}
HANDLED = ("x-scheme-handler/https", "x-scheme-handler/mailto", "application/pdf", "text/plain")
PDF = b"%PDF-1.4\n"


@pytest.fixture
def home(session: dict[str, str]) -> Path:
    home = Path(session["HOME"])
    (home / "Documents").mkdir()
    (home / "Documents" / "paper.pdf").write_bytes(PDF)
    (home / "Documents" / "note.txt").write_text("a note")
    return home


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_connected_to_by_its_name(
    asking: Asking, runtime_dir: Path, home: Path, service: str
) -> None:
    with listener(runtime_dir / SERVICES[service], echo):
        box = asking(f'connect = ["{service}"]', env={"WAYLAND_DISPLAY": "wayland-7"})
        assert not box.eval(f"os.path.exists({str(runtime_dir / SERVICES[service])!r})")
        box.does(f"made = client.connect_to({service!r}); made.sendall(b'hello')")
        assert box.eval("made.recv(100)") == b"heard hello"
        assert 1 == box.eval("fcntl.fcntl(made, fcntl.F_GETFD)")
        assert 0 == box.eval("fcntl.fcntl(made, fcntl.F_GETFL)") & os.O_NONBLOCK
        relayed = box.eval(f"ask('connect', {service!r}, '--', 'sh', '-c', 'printf you >&3; head -c 9 <&3')")
        assert [0, "heard you", ""] == list(relayed)
        (first, _) = box.log()
        assert ("connect", service, "allowed", box.line("connect")) == (
            first["request"],
            first["path"],
            first["verdict"],
            first["rule"],
        )


def test_no_other_service_and_no_path_is_connected_to(asking: Asking, runtime_dir: Path, home: Path) -> None:
    with listener(runtime_dir / "pulse/native", echo) as pids, listener(runtime_dir / "bus", echo) as others:
        box = asking('connect = ["pulseaudio"]')
        for name in ("wayland", "bus", "", "ssh-agent", str(runtime_dir / "bus"), "pulseaudio/../bus", "pulseaudio\0"):
            assert box.eval(f"raw(message(10, {name!r}))")[0] in ("EACCES", "EINVAL"), name
        assert ([], []) == (pids, others)


def test_a_service_that_went_away_or_is_something_else_is_an_error(
    asking: Asking, runtime_dir: Path, home: Path
) -> None:
    path = runtime_dir / "pulse/native"
    with listener(path, echo):
        box = asking('connect = ["pulseaudio"]')
    # what was removed or wasn't there is looked for anew by the next broker, after AGAIN_S at the earliest
    assert box.eval("error(client.connect_to, 'pulseaudio')") == "ECONNREFUSED"
    path.unlink()
    assert box.eval("error(client.connect_to, 'pulseaudio')") == "ECONNREFUSED"
    within(lambda: box.eval("error(client.connect_to, 'pulseaudio')") == "ENOENT", "another broker", 3 * AGAIN_S)
    with listener(runtime_dir / "other", echo) as pids:
        path.symlink_to(runtime_dir / "other")
        within(lambda: box.eval("error(client.connect_to, 'pulseaudio')") == "ELOOP", "a third", 3 * AGAIN_S)
        assert [] == pids
    path.unlink()
    with listener(path, echo):
        within(
            lambda: box.eval("error(lambda: kept.append(client.connect_to('pulseaudio')))") not in ("ELOOP", "EPIPE"),
            "a fourth",
            3 * AGAIN_S,
        )


def test_a_service_that_accepts_nobody_keeps_nobody_waiting(asking: Asking, runtime_dir: Path, home: Path) -> None:
    import socket

    path = runtime_dir / "pulse/native"
    path.parent.mkdir()
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(f"/proc/self/fd/{directory}/native")
        full.listen(0)
        box = asking('connect = ["pulseaudio"]')
        answers = [box.eval("taken(lambda: kept.append(client.connect_to('pulseaudio')))") for _ in range(3)]
        assert "EAGAIN" in [answer for answer, _ in answers]
        assert max(seconds for _, seconds in answers) < 2
    os.close(directory)


@pytest.fixture
def ssh_agent(session: dict[str, str], runtime_dir: Path) -> Iterator[Agent]:
    with agent(runtime_dir / "agent") as made:
        session["SSH_AUTH_SOCK"] = str(runtime_dir / "agent")
        yield made


def test_the_agent_lists_and_signs_with_the_named_key_alone(
    asking: Asking, home: Path, ssh_agent: Agent
) -> None:
    box = asking(f'connect = ["ssh-agent"]\nssh-agent-keys = ["{COMMENTS[0]}"]')
    box.has("agent_client")
    assert [COMMENTS[0]] == [comment for _, comment in box.eval("identities()")]
    assert box.eval(f"sign({ssh_agent.blobs[0]!r}, b'data')") == b"signed data"
    assert box.eval(f"sign({ssh_agent.blobs[1]!r}, b'data')") is None
    names = [(line["request"], line["verdict"]) for line in box.log()]
    assert [("agent list", "allowed"), ("agent sign", "allowed"), ("agent sign", "denied")] == names
    assert box.line("connect") == box.log()[1]["rule"]
    assert box.log()[1]["path"].startswith("SHA256:")


def test_a_key_can_be_named_by_its_fingerprint(asking: Asking, home: Path, ssh_agent: Agent) -> None:
    box = asking(f'connect = ["ssh-agent"]\nssh-agent-keys = ["{ssh_agent.fingerprints[1]}"]')
    box.has("agent_client")
    assert box.eval(f"sign({ssh_agent.blobs[1]!r}, b'data')") == b"signed data"
    assert [COMMENTS[1]] == [comment for _, comment in box.eval("identities()")]


def test_the_agent_itself_is_never_handed_in(asking: Asking, home: Path, ssh_agent: Agent) -> None:
    """`connect` gives an end of the broker's own, which filters like the socket."""
    box = asking(f'connect = ["ssh-agent"]\nssh-agent-keys = ["{COMMENTS[0]}"]')
    box.has("agent_client")
    answer = box.eval("error(lambda: kept.append(client.connect_to('ssh-agent')))")
    if not answer:
        assert [COMMENTS[0]] == [comment for _, comment in box.eval("identities(kept[-1])")]
    else:
        assert answer == "EACCES"
    assert box.eval("os.environ['SSH_AUTH_SOCK']") == "/run/sandboxer/ssh-agent"


def test_a_link_is_opened_outside_with_the_users_program(asking: Asking, home: Path) -> None:
    opened = Opened(home, HANDLED)
    box = asking('links = ["https"]')
    assert (0, "", "") == tuple(box.eval("ask('present', 'HTTPS://example.org/?a=b%20c#d')"))
    assert ["https://example.org/?a=b%20c#d"] == opened.one()["words"]
    assert ("present", "allowed", box.line("links")) == tuple(
        box.log()[-1][key] for key in ("request", "verdict", "rule")
    )


@pytest.mark.parametrize("way", ["xdg-open", "/usr/bin/xdg-open", "client"])
def test_every_way_to_open_a_link_leads_outside(asking: Asking, home: Path, way: str) -> None:
    if way.startswith("/") and (not Path(way).is_file() or Path(way).is_symlink()):
        missing("xdg-open: the system's, at /usr/bin/xdg-open")
    opened = Opened(home, HANDLED)
    box = asking('links = ["mailto"]')
    if way == "client":
        box.eval("client.present('mailto:a@example.org')")
    else:
        assert (0, "", "") == tuple(box.eval(f"run({way!r}, 'mailto:a@example.org')"))
    assert ["mailto:a@example.org"] == opened.one()["words"]


def test_a_file_that_the_box_can_see_is_opened_outside(asking: Asking, home: Path) -> None:
    opened = Opened(home, HANDLED)
    box = asking('presents = ["application/pdf"]', files='read = ["~/lib", "~/Documents"]')
    paper = str(home / "Documents" / "paper.pdf")
    assert (0, "", "") == tuple(box.eval(f"ask('present', {paper!r})"))
    (word,) = opened.one()["words"]
    copy = Path(word.removeprefix("file://"))
    assert ("paper.pdf", Path(paper).read_bytes()) == (copy.name, copy.read_bytes())


def test_what_the_lists_don_t_hold_isn_t_opened(asking: Asking, home: Path) -> None:
    opened = Opened(home, HANDLED)
    box = asking(
        'links = ["https"]\npresents = ["application/pdf"]', files='read = ["~/lib", "~/Documents"]'
    )
    note, absent = str(home / "Documents" / "note.txt"), str(home / "Documents" / "absent.pdf")
    assert box.eval("error(client.present, 'mailto:a@example.org')") == "EACCES"
    assert box.eval(f"error(client.present, {note!r})") == "EACCES"
    assert box.eval(f"error(client.present, {absent!r})") == "ENOENT"
    assert box.eval(f"error(client.present, {str(home / 'Documents')!r})") == "EISDIR"
    assert [] == opened.all()


def test_without_a_program_for_it_the_application_is_told(asking: Asking, home: Path) -> None:
    nowhere = dict.fromkeys(("PATH", "XDG_DATA_DIRS", "XDG_CONFIG_DIRS"), "/nowhere")
    box = asking('links = ["https"]', env=nowhere)
    assert box.eval("error(client.present, 'https://example.org')") == "ENOENT"


def test_a_box_without_links_has_no_xdg_open_of_ours(asking: Asking, home: Path) -> None:
    box = asking('list = ["~/Documents"]')
    assert not box.eval("os.path.exists('/run/sandboxer/bin/xdg-open')")
    assert box.eval("error(client.present, 'https://example.org')") == "EACCES"
