"""
How an escape test is told: the same attack program, run by the same ordinary user, outside, inside as the application,
and inside once more by `sandbox exec`, which must give no more than the application has.

Outside it must succeed, so that its failure inside is the box's doing and not a mistake in the attack. Where this
machine's kernel refuses it to ordinary users anyway, the test says what it answers outside, and the answer inside must
be another one, or the docstring says why it can't be.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Protocol

import pytest

from sandboxer.plan.codec import encode
from sandboxer.plan.decode import decode
from sandboxer.plan.ops import Plan, PlanFlag
from sandboxer.words import changed

PYTHON = "/usr/bin/python3"
"""The box has no other: /usr is all of the system's programs that it sees."""
KERNEL = Path(__file__).with_name("kernel.py").read_text(encoding="utf-8")
SECRETS = {
    ".ssh/id_ed25519": "an SSH key",
    ".gnupg/private-keys-v1.d/key": "a GnuPG key",
    ".mozilla/firefox/default/logins.json": "a browser's passwords",
    ".config/chromium/Default/Login Data": "another browser's passwords",
    ".local/share/keyrings/login.keyring": "a desktop's keyring",
    ".bash_history": "what was typed",
    "Documents/diary.txt": "a file that no policy grants",
}
"""Paths in the home → what the user keeps there."""
NO_DOCUMENTS = 'files.documents="none"'
"""Words of an attack that name files must not grant them."""
LANDLOCK = PlanFlag.LANDLOCK_FILES | PlanFlag.LANDLOCK_SCOPE
LASTS_S = 30.0

Program = Callable[..., object]
"""An attack: takes the Kernel and the words of its command line, returns its loot, raises OSError when refused."""


class Attack(Protocol):
    """See the fixture `attack`."""

    def __call__(
        self,
        program: Program,
        *words: str | Path | int,
        refused: str | tuple[str, ...],
        outside: str = "succeeded",
        instead: Mapping[str, str] | None = None,
        policy: str | Path = "",
        settings: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        landlock: bool = True,
        by_exec: bool = True,
        **how: Any,
    ) -> None: ...


class Boxed(Protocol):
    """See the fixture `boxed`."""

    def __call__(
        self,
        *command: str | Path,
        policy: str | Path = "",
        settings: Sequence[str] = (),
        again: bool = False,
    ) -> list[str]: ...


class Bystander(NamedTuple):
    """Another program of the user's, outside: see the fixture `bystander`."""

    pid: int
    descriptor: int
    secret: str

    def lives(self) -> bool:
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in "ZX"


@pytest.fixture(scope="session")
def filters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory for all tests: a compiled filter is the same for most of them, and half of a start's time."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(session: dict[str, str], filters: Path) -> Path:
    """The user's home, with secrets in it and a directory `shared` that tests may grant."""
    session["XDG_CACHE_HOME"] = str(filters)
    home = Path(session["HOME"])
    for name, text in SECRETS.items():
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (home / "shared").mkdir()
    (home / "shared" / "granted.txt").write_text("granted")
    return home


@pytest.fixture
def boxed(box: object, sandbox_program: Path) -> Boxed:
    """The words that run a command in a box, for those who start it themselves; `again`: by a cached plan only."""

    def words(
        *command: str | Path, policy: str | Path = "", settings: Sequence[str] = (), again: bool = False
    ) -> list[str]:
        chosen: list[str | Path] = [sandbox_program, *(["--again"] if again else []), "run"]
        chosen += ["--policy", policy] if policy else []
        for setting in settings:
            chosen += ["--set", setting]
        return [str(word) for word in (*chosen, "--", *command)]

    return words


@pytest.fixture
def bystander(session: dict[str, str], home: Path) -> Iterator[Bystander]:
    """A program of the user's, in a process group of its own, with a secret in its memory and a file of the user's."""
    secret = "bystander-" + os.urandom(8).hex()
    script = "import os, sys, time; print(os.open('diary.txt', os.O_RDONLY), flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [PYTHON, "-c", script, secret],
        env=session | {"SECRET": secret},
        cwd=home / "Documents",
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdout is not None
    with process:
        descriptor = int(process.stdout.readline())
        yield Bystander(process.pid, descriptor, secret)
        process.kill()


def attacker(program: Program, *words: object) -> list[str]:
    """The command line of an attack: its source, so that nothing of this tree is needed inside."""
    assert isinstance(program, FunctionType)
    source = f"{KERNEL}\n\n{source_of(program)}\nreport({program.__name__})\n"
    return [PYTHON, "-IS", "-c", source, *(str(word) for word in words)]


def source_of(program: FunctionType) -> str:
    """A function, and before it what it uses of its module: modules, constants, other functions."""
    before = ""
    module = inspect.getmodule(program)
    for name in dict.fromkeys(names_in(program.__code__)):
        value = getattr(module, name, None)
        if inspect.ismodule(value):
            before += f"import {value.__name__} as {name}\n"
        elif inspect.isfunction(value) and value is not program and value.__module__ == program.__module__:
            before += source_of(value)
        elif isinstance(value, (int, str, bytes, tuple)):
            before += f"{name} = {value!r}\n"
    return before + textwrap.dedent(inspect.getsource(program))


def names_in(code: CodeType) -> Iterator[str]:
    """The global names that a function uses."""
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from names_in(constant)


def outcome(command: Sequence[str], **how: Any) -> tuple[str, str]:
    """How an attack ended, and all that it said: "succeeded", "refused: EPERM", or a signal's name."""
    how.setdefault("stdin", subprocess.DEVNULL)
    if how.get("process_group") is None:
        how["start_new_session"] = True
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    ) as process:
        try:
            out, err = process.communicate(timeout=LASTS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    said = f"exit status {process.returncode}\n{out}\n{err}"
    last = out.rstrip().rsplit("\n", 1)[-1]
    if last.startswith(("succeeded", "refused: ")):
        return last, said
    for number in (-process.returncode, process.returncode - 128):
        if number in set(signal.Signals):
            return signal.Signals(number).name, said
    return f"exit status {process.returncode}", said


@contextlib.contextmanager
def sleeping(command: Sequence[str], **how: Any) -> Iterator[str]:
    """A box that does nothing meanwhile: the number by which commands know it."""
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with subprocess.Popen(command, start_new_session=True, **(how | quiet)) as process:
        try:
            deadline = time.monotonic() + LASTS_S
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            boxes = Path(how["env"]["XDG_RUNTIME_DIR"])
            while not (list(boxes.glob(f"sandboxer/boxes/*.{process.pid}/box")) and children.read_text()):
                assert process.poll() is None, "the box has ended"
                assert time.monotonic() < deadline, "the box doesn't start"
                time.sleep(0.005)
            yield str(process.pid)
        finally:
            process.kill()


TRIED: set[tuple[str, ...]] = set()
"""Attacks that were tried by `sandbox exec`: one that differs in its words alone is tried once."""


def rewrite_plans(runtime_dir: Path, change: Callable[[Plan], Plan]) -> None:
    """Change the plans in the cache, as nobody but the user can; a start `again` then runs them as they are."""
    for file in (runtime_dir / "sandboxer" / "plans").iterdir():
        file.write_bytes(encode(change(decode(file.read_bytes()))))


@pytest.fixture
def attack(
    boxed: Boxed,
    session: dict[str, str],
    home: Path,
    runtime_dir: Path,
    tmp_path: Path,
    sandbox_program: Path,
) -> Attack:
    """
    Run `program` outside, then inside a box of the strict default with `settings`, and hold both outcomes.

    What is refused inside is refused to a program of `sandbox exec` as well, in a box of the same settings: once for
    each attack, with and without namespaces of its own, and not where the attack is on what the caller handed to the
    application (`by_exec` False).

    `refused` is the errno's name, or a signal's ("SIGSYS"), or several that are equally good; `outside` is
    "succeeded", or the errno that the kernel itself gives to everybody here; `instead` replaces words inside, for
    what has another name there; `landlock` False takes that wall away, as an older kernel would, to show that the ones
    before it stand alone. The rest is as for subprocess.Popen.
    """

    def run(
        program: Program,
        *words: str | Path | int,
        refused: str | tuple[str, ...],
        outside: str = "succeeded",
        instead: Mapping[str, str] | None = None,
        policy: str | Path = "",
        settings: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        landlock: bool = True,
        by_exec: bool = True,
        **how: Any,
    ) -> None:
        how |= {"env": session | dict(env or {}), "cwd": cwd or tmp_path}
        given = [str(word) for word in words]
        ended, said = outcome(attacker(program, *given), **how)
        assert ended.removeprefix("refused: ").split(":")[0] == outside, f"outside: {said}"
        given = [(instead or {}).get(word, word) for word in given]
        settings = [NO_DOCUMENTS, *settings]
        if not landlock:
            subprocess.run(
                boxed("true", policy=policy, settings=settings), env=how["env"], cwd=how["cwd"], check=True
            )
            rewrite_plans(runtime_dir, lambda plan: changed(plan, flags=plan.flags & ~LANDLOCK))
        command = boxed(*attacker(program, *given), policy=policy, settings=settings, again=not landlock)
        ended, said = outcome(command, **how)
        expected = (refused,) if isinstance(refused, str) else refused
        assert ended.removeprefix("refused: ") in expected, f"inside: {said}"
        key = (
            program.__module__,
            program.__qualname__,
            str("advanced.nested=true" in settings),
            str(landlock),
        )
        if not by_exec or key in TRIED:
            return
        TRIED.add(key)
        sleeper = boxed("sleep", "60", policy=policy, settings=settings, again=not landlock)
        with sleeping(sleeper, env=how["env"], cwd=how["cwd"]) as number:
            ended, said = outcome([str(sandbox_program), "exec", number, *attacker(program, *given)], **how)
        assert ended.removeprefix("refused: ") in expected, f"by exec: {said}"

    return run
