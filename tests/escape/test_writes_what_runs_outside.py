"""Attack: write where the next box, the next shell or the next session looks for what to run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from escape.conftest import Attack, Boxed
from escape.kernel import Kernel

PLACES = (
    ".bashrc",
    ".profile",
    ".zshenv",
    ".bash_aliases",
    ".config/autostart/x.desktop",
    ".config/environment.d/x.conf",
    ".config/sandboxer/apps/firefox.toml",
    ".config/systemd/user/x.service",
    ".local/bin/ls",
    ".local/share/applications/firefox.desktop",
    ".local/share/dbus-1/services/x.service",
    ".local/share/sandboxer/homes/firefox/x",
    ".ssh/authorized_keys",
)
GRANTS = (
    "~",
    "/",
    "~/.config",
    "~/.config/autostart",
    "~/.config/systemd",
    "~/.config/systemd/user",
    "~/.config/sandboxer",
    "~/.config/sandboxer/apps",
    "~/.config/environment.d",
    "~/.config/fish",
    "~/.local",
    "~/.local/bin",
    "~/.local/share",
    "~/.local/share/applications",
    "~/.local/share/bash-completion",
    "~/.local/share/dbus-1/services",
    "~/.local/share/sandboxer",
    "~/.local/share/sandboxer/homes",
    "~/.ssh",
    "~/.ssh/config",
    "~/.gnupg",
    "~/.bashrc",
    "~/.profile",
    "~/.gitconfig",
    "~/.config/git",
    "~/.config/dconf",
    "~/.config/gtk-3.0",
    "~/.config/pipewire",
    "~/.config/pulse",
    "~/.config/Code",
    "~/.config/kglobalshortcutsrc",
    "~/.forward",
    "~/.oh-my-zsh",
)


FILES = (".bashrc", ".profile", ".gitconfig", "config", ".forward", "kglobalshortcutsrc")


def write(_kernel: Kernel, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write("attacked\n")


def started(words: list[str], session: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env=session, cwd="/", capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize("name", PLACES)
def test_what_runs_outside_is_read_only_where_the_home_is_shown(
    attack: Attack, home: Path, name: str
) -> None:
    attack(write, home / name, refused="EROFS", settings=['files.home="host"'])


@pytest.mark.parametrize("home_kind", ["ephemeral", "private"])
def test_what_is_written_in_a_home_of_its_own_stays_there(
    boxed: Boxed, session: dict[str, str], home: Path, home_kind: str
) -> None:
    script = f"echo attacked > {home}/.bashrc && cat {home}/.bashrc"
    assert started(["sh", "-c", script], session).stdout == "attacked\n"
    (home / ".bashrc").write_text("mine\n")
    inside = started(boxed("sh", "-c", script, settings=[f'files.home="{home_kind}"']), session)
    assert inside.stdout == "attacked\n", inside.stderr
    assert (home / ".bashrc").read_text() == "mine\n"


def test_plans_are_not_there(
    attack: Attack, boxed: Boxed, session: dict[str, str], runtime_dir: Path
) -> None:
    assert started(boxed("true"), session).returncode == 0
    plans = runtime_dir / "sandboxer" / "plans"
    assert any(plans.iterdir())
    forged = plans / "forged.plan"
    attack(open_for_writing, forged, refused="ENOENT")
    attack(open_for_writing, Path(session["XDG_CACHE_HOME"]) / "sandboxer" / "forged", refused="ENOENT")


def open_for_writing(_kernel: Kernel, path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    os.unlink(path)


@pytest.mark.parametrize("grant", GRANTS)
def test_a_policy_that_grants_it_is_refused(
    boxed: Boxed, session: dict[str, str], home: Path, grant: str
) -> None:
    """The attack is on the user here: a policy with a harmless look."""
    path = Path(str(home) + grant[1:]) if grant[0] == "~" else Path(grant)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix or path.name in FILES:
            path.touch()
        else:
            path.mkdir()
    assert os.access(path.parent, os.W_OK) or grant == "/", "outside, the user may write it"
    done = started(boxed("true", settings=[f'files.write=["{grant}"]']), session)
    assert done.returncode == 125, f"{grant} was granted"


def test_a_policy_that_grants_the_plans_is_refused(
    boxed: Boxed, session: dict[str, str], runtime_dir: Path
) -> None:
    for path in (runtime_dir, runtime_dir / "sandboxer", Path(session["XDG_CACHE_HOME"])):
        path.mkdir(exist_ok=True)
        done = started(boxed("true", settings=[f'files.write=["{path}"]']), session)
        assert done.returncode == 125, f"{path} was granted"


def test_a_link_to_it_is_refused_too(boxed: Boxed, session: dict[str, str], home: Path) -> None:
    (home / ".config" / "autostart").mkdir(parents=True)
    (home / "notes").symlink_to(home / ".config" / "autostart")
    done = started(boxed("true", settings=['files.write=["~/notes"]']), session)
    assert done.returncode == 125


def test_the_working_directory_is_not_a_way_to_it(boxed: Boxed, session: dict[str, str], home: Path) -> None:
    for name in ("", ".config", ".local/share/applications"):
        (home / name).mkdir(parents=True, exist_ok=True)
        words = boxed("true", settings=['files.working-directory="write"'])
        done = subprocess.run(
            words, env=session, cwd=home / name, capture_output=True, text=True, check=False
        )
        assert done.returncode == 125, f"~/{name} was granted"
