"""Attack: leave a symbolic link in a granted directory and follow it, now or when the next box is built."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from escape.conftest import Attack, Boxed
from escape.kernel import Kernel


def plant_and_follow(_kernel: Kernel, link: str, target: str) -> bytes:
    os.symlink(target, link)
    try:
        return os.read(os.open(link, os.O_RDONLY), 100)
    finally:
        os.unlink(link)


@pytest.mark.parametrize(
    "target", ["{home}/.ssh/id_ed25519", "../.ssh/id_ed25519", "/proc/self/root/{home}/.ssh/id_ed25519"]
)
def test_a_link_is_followed_inside_only(attack: Attack, home: Path, target: str) -> None:
    attack(
        plant_and_follow,
        home / "shared" / "link",
        target.format(home=home),
        refused="ENOENT",
        settings=['files.write=["~/shared"]'],
    )


def started(words: list[str], session: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env=session, cwd="/", capture_output=True, text=True, check=False, timeout=30
    )


def test_a_grant_through_a_link_in_a_writable_directory_is_refused(
    boxed: Boxed, session: dict[str, str], home: Path
) -> None:
    """First box: plants ~/shared/work -> ~/.ssh. Second box: is granted ~/shared/work, as it was meant to be."""
    settings = ['files.write=["~/shared"]', 'files.read=["?~/shared/work"]']
    first = started(boxed("ln", "-s", home / ".ssh", home / "shared" / "work", settings=settings), session)
    assert first.returncode == 0, first.stderr
    assert "SSH" in (home / "shared" / "work" / "id_ed25519").read_text(), (
        "outside, the link leads to the key"
    )
    second = started(boxed("ls", home / "shared" / "work", settings=settings), session)
    assert second.returncode == 125, second.stdout
    assert "link" in second.stderr


def test_a_link_in_the_kept_home_does_not_move_a_grant(
    boxed: Boxed, session: dict[str, str], home: Path
) -> None:
    """First box: makes its ~/Music a link to its ~/.config, so that the grant would be mounted elsewhere."""
    (home / "Music").mkdir()
    settings = ['files.home="private"']
    first = started(boxed("ln", "-s", ".config", home / "Music", settings=settings), session)
    assert first.returncode == 0, first.stderr
    second = started(boxed("true", settings=[*settings, 'files.read=["~/Music"]']), session)
    assert second.returncode == 125
    assert "Music" in second.stderr


def test_a_document_that_is_a_planted_link_is_not_handed_in(
    boxed: Boxed, session: dict[str, str], home: Path
) -> None:
    """The user opens ~/shared/report.txt, which the application has made a link to a key; cat shows it outside."""
    settings = ['files.write=["~/shared"]', 'files.documents="read"']
    report = home / "shared" / "report.txt"
    report.symlink_to(home / ".ssh" / "id_ed25519")
    assert "SSH" in started(["cat", str(report)], session).stdout
    inside = started(boxed("cat", report, settings=settings), session)
    assert "SSH" not in inside.stdout
    assert inside.returncode != 0
