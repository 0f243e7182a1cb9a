"""
What all tests share: services that must be there, programs to run inside, and a box of their own.

`need` decides between skipping and failing: a developer without Xvfb gets a loud skip; under ./test and in CI, where
set-up has installed everything, an absent service is a failure.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import hypothesis
import pytest

if TYPE_CHECKING:
    from brokered import AskingBox
    from sessions import DesktopSession

# No database of examples: the checkout may belong to somebody else. Time limits are pytest's.
hypothesis.settings.register_profile("sandboxer", database=None, deadline=None)
hypothesis.settings.load_profile("sandboxer")

TREE = Path(__file__).resolve().parent.parent
PROGRAMS = TREE / "tests" / "programs"
BESIDE_PYTHON = Path(sys.executable).parent
SANDBOX = BESIDE_PYTHON / "sandbox"
COMPLETE = bool(os.environ.get("CI") or os.environ.get("SANDBOXER_TEST_COMPLETE"))
WITHOUT = frozenset(os.environ.get("SANDBOXER_TEST_WITHOUT", "").split())
"""What this system can't have: ./test says so and why, and names it here."""
C_FLAGS = ("-std=gnu17", "-O2", "-static", "-Wall", "-Wextra", "-Werror")
DIES = 10.0
"""Seconds that a killed box has to be gone."""


def missing(what: str) -> NoReturn:
    """Skip, loudly; fail where everything was to be there."""
    name = what.split(":", 1)[0]
    if COMPLETE and name not in WITHOUT:
        pytest.fail(f"this test needs {what}, and here nothing may be missing", pytrace=False)
    pytest.skip(f"NOT TESTED: needs {what}")


def need(*programs: str) -> str:
    """The path of the first of `programs` that is installed; without any the test is skipped or fails."""
    for program in programs:
        if found := shutil.which(program):
            return found
    missing(" or ".join(programs) if len(programs) > 1 else programs[0])


def need_user_namespaces() -> None:
    """For tests of real boxes: run by an ordinary user who may make user namespaces."""
    if os.getuid() == 0:
        missing("an ordinary user: the sandbox refuses to run as root")
    probe = subprocess.run([need("unshare"), "--user", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        missing(f"user namespaces: {probe.stderr.strip()}")


@pytest.fixture(scope="session")
def sandbox_program() -> Path:
    """The `sandbox` executable that is installed beside this Python."""
    if not SANDBOX.exists():
        missing(f"{SANDBOX}: install the project into this environment")
    return SANDBOX


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Path:
    """An empty XDG_RUNTIME_DIR, private as the specification wants it."""
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def session(tmp_path: Path, runtime_dir: Path) -> dict[str, str]:
    """
    The environment of a session of its own: empty home, configuration, cache and runtime directories, no display.

    A test may change it before it starts something.
    """
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "USER", "LOGNAME", "TZ") if name in os.environ
    }
    return kept | {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime_dir),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "NO_COLOR": "1",
    }


def run_to_end(
    words: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | str | None = None,
    stdin: str = "",
    timeout_s: float = 30.0,
) -> subprocess.CompletedProcess[str]:
    """Run a program in a process group of its own; when it hangs, end the group and fail with what it said."""
    process = subprocess.Popen(
        [str(word) for word in words],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate(timeout=DIES)
        pytest.fail(f"{words} did not end within {timeout_s} s\nstdout: {out}\nstderr: {err}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class Box(Protocol):
    """See the fixture `box`."""

    def __call__(
        self,
        *command: str | Path,
        policy: str | Path = "",
        settings: Sequence[str] = (),
        files: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        stdin: str = "",
        timeout_s: float = 30.0,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def box(sandbox_program: Path, session: dict[str, str], tmp_path: Path) -> Box:
    """
    Run a command in a box: `box("id", "-u", settings=['files.read=["~/x"]']).stdout`.

    `policy` is a name or a file, the strict default unless given; `settings` are words for --set, `files` for --fd;
    `env` is added to
    the session's. The box sees the session of the fixture `session`.
    """
    need_user_namespaces()

    def run(
        *command: str | Path,
        policy: str | Path = "",
        settings: Sequence[str] = (),
        files: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        stdin: str = "",
        timeout_s: float = 30.0,
    ) -> subprocess.CompletedProcess[str]:
        words: list[str | Path] = [sandbox_program, "run"]
        if policy:
            words += ["--policy", policy]
        for setting in settings:
            words += ["--set", setting]
        for file in files:
            words += ["--fd", file]
        return run_to_end(
            [*words, "--", *command],
            env=session | dict(env or {}),
            cwd=cwd or tmp_path,
            stdin=stdin,
            timeout_s=timeout_s,
        )

    return run


def compiled(name: str, cache: Path, extra_flags: Sequence[str] = ()) -> Path:
    """tests/programs/NAME.c as a static executable; compiled when it, a header beside it or a flag has changed."""
    sources = [PROGRAMS / f"{name}.c", *sorted(PROGRAMS.glob("*.h"))]
    digest = hashlib.sha256(" ".join([*C_FLAGS, *extra_flags]).encode())
    for source in sources:
        digest.update(source.read_bytes())
    program = cache / f"{name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        new = cache / f"{program.name}.{os.getpid()}"
        done = subprocess.run(
            [need("gcc", "cc"), *C_FLAGS, *extra_flags, "-o", str(new), str(sources[0])],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"{sources[0]} doesn't compile:\n{done.stderr}", pytrace=False)
        new.replace(program)
    return program


@pytest.fixture(scope="session")
def native_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`native_program("confinement")` is the path of tests/programs/confinement.c, compiled statically."""
    cache = TREE / "build" / "test-programs"
    if not os.access(TREE, os.W_OK):
        cache = tmp_path_factory.getbasetemp() / "test-programs"

    def program(name: str, *extra_flags: str) -> Path:
        return compiled(name, cache, extra_flags)

    return program


class Asking(Protocol):
    """See the fixture `asking`."""

    def __call__(
        self,
        lines: str,
        *,
        name: str = "asker",
        files: str = "",
        more: str = "",
        settings: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> AskingBox: ...


@pytest.fixture(scope="session")
def filter_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory for many tests: a compiled filter is the same for most of them, and half of a start's time."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def asking(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path, filter_cache: Path
) -> Iterator[Asking]:
    """
    `asking('read = ["~/Documents"]')`: a box whose policy has these lines in [broker], and an application that asks
    (see tests/brokered.py). `files` are lines of [files], `more` is what follows [broker].
    """
    need_user_namespaces()
    from brokered import AskingBox, package, policy_file

    session["XDG_CACHE_HOME"] = str(filter_cache)
    started: list[AskingBox] = []

    def start(
        lines: str,
        *,
        name: str = "asker",
        files: str = "",
        more: str = "",
        settings: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> AskingBox:
        package(Path(session["HOME"]))
        policy = policy_file(tmp_path, lines, name=name, more=more, files=files)
        started.append(AskingBox(policy, sandbox_program, session | dict(env or {}), tmp_path, settings))
        return started[-1]

    yield start
    for box in started:
        box.end()


@pytest.fixture(scope="session")
def desktop_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DesktopSession]:
    """The desktop session that all tests share; they take it as `desktop`, which is reset after each."""
    from sessions import desktop_session as started

    with started(tmp_path_factory.mktemp("desktop")) as session:
        yield session


@pytest.fixture
def desktop(desktop_session: DesktopSession) -> Iterator[DesktopSession]:
    """A real desktop session with a user manager, a session bus and an X server: see tests/sessions.py."""
    yield desktop_session
    desktop_session.reset()
