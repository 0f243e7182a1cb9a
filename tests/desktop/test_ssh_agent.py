"""OpenSSH's agent through the broker: the one key that the policy names can be used, and nothing else be done."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Box, need, run_to_end
from servers import running, until

DATA = "what is signed\n"
NAMESPACE = "sandboxer-test"


class Agent:
    """An agent with two keys; `own` and `other` are the files of their public halves."""

    def __init__(self, env: dict[str, str], keys: Path) -> None:
        self.env = env
        self.own, self.other = keys / "own.pub", keys / "other.pub"
        self.keys = keys

    def keeps(self) -> str:
        """All that it holds, as it tells it outside."""
        return self._outside("ssh-add", "-L").stdout

    def add(self, public: Path) -> None:
        """Make a key and add it. Its private half stays nowhere but in the agent."""
        private = public.with_suffix("")
        self._outside(
            "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{private.name}@test", "-f", str(private)
        )
        self._outside("ssh-add", "-q", str(private))
        private.unlink()

    def fingerprint(self, public: Path) -> str:
        """As `ssh-add -l` prints it."""
        return self._outside("ssh-keygen", "-l", "-f", str(public)).stdout.split()[1]

    def accepts(self, signature: str, public: Path) -> bool:
        """Whether it is a signature of DATA with that key."""
        file, signers = self.keys / "signature", self.keys / "signers"
        file.write_text(signature)
        signers.write_text(f"ann {public.read_text()}")
        words = ["-Y", "verify", "-f", str(signers), "-I", "ann", "-n", NAMESPACE, "-s", str(file)]
        done = run_to_end([need("ssh-keygen"), *words], env=self.env, stdin=DATA)
        return done.returncode == 0

    def _outside(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = run_to_end([need(words[0]), *words[1:]], env=self.env)
        assert 0 == done.returncode, done.stderr
        return done


@pytest.fixture
def agent(session: dict[str, str], runtime_dir: Path, tmp_path: Path) -> Iterator[Agent]:
    """The session's agent."""
    socket = runtime_dir / "agent"
    log = tmp_path / "agent.log"
    keys = tmp_path / "keys"
    keys.mkdir()
    session["SSH_AUTH_SOCK"] = str(socket)
    with running([need("ssh-agent"), "-D", "-a", socket], env=session, log=log):
        until(socket.is_socket, "the agent's socket", log)
        made = Agent(session, keys)
        made.add(made.own)
        made.add(made.other)
        yield made


@pytest.fixture
def settings(agent: Agent) -> list[str]:
    """What gives a box one of the agent's keys, and lets it see the public halves of both."""
    return [
        'broker.connect=["ssh-agent"]',
        f'broker.ssh-agent-keys=["{agent.fingerprint(agent.own)}"]',
        f'files.read=["{agent.keys}"]',
    ]


def test_the_named_key_alone_is_listed(box: Box, agent: Agent, settings: list[str]) -> None:
    done = box("ssh-add", "-l", settings=settings)
    assert (0, [agent.fingerprint(agent.own)]) == (
        done.returncode,
        [line.split()[1] for line in done.stdout.splitlines()],
    ), done.stderr
    assert agent.own.read_text() == box("ssh-add", "-L", settings=settings).stdout


def test_it_signs_with_the_named_key_and_not_with_another(
    box: Box, agent: Agent, settings: list[str]
) -> None:
    def signed(public: Path) -> subprocess.CompletedProcess[str]:
        words = ["-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(public)]
        return box("ssh-keygen", *words, settings=settings, stdin=DATA)

    own = signed(agent.own)
    assert 0 == own.returncode, own.stderr
    assert agent.accepts(own.stdout, agent.own)
    assert not agent.accepts(own.stdout, agent.other)
    other = signed(agent.other)
    assert (255, "") == (other.returncode, other.stdout)


@pytest.mark.parametrize(
    "what",
    [
        "ssh-add -D",
        "ssh-add -d {own}",
        "ssh-add -d {other}",
        "ssh-keygen -q -t ed25519 -N '' -f ~/new && ssh-add ~/new",
        "ssh-add -s /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so </dev/null",
    ],
)
def test_nothing_in_the_agent_can_be_changed(box: Box, agent: Agent, settings: list[str], what: str) -> None:
    before = agent.keeps()
    assert 2 == len(before.splitlines())
    done = box("sh", "-c", what.format(own=agent.own, other=agent.other), settings=settings)
    assert 0 < done.returncode < 125, done.stdout
    assert before == agent.keeps()


def test_the_agents_own_socket_is_not_in_the_box(box: Box, agent: Agent, settings: list[str]) -> None:
    done = box(
        "sh", "-c", 'echo "$SSH_AUTH_SOCK"; ls "$1"', "sh", agent.env["SSH_AUTH_SOCK"], settings=settings
    )
    assert (2, "/run/sandboxer/ssh-agent\n") == (done.returncode, done.stdout)
    assert "No such file or directory" in done.stderr


def test_without_the_grant_there_is_no_agent(box: Box, agent: Agent) -> None:
    done = box("ssh-add", "-l")
    assert 2 == done.returncode
    assert "Could not open a connection to your authentication agent" in done.stderr
