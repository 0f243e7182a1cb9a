"""Grants told in plain words: holes first, then by topic, with who asked."""

from __future__ import annotations

from machines import effective

from sandboxer.cli.account import account, facts, policy_files
from sandboxer.cli.output import plain
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.policy.effective import Effective
from sandboxer.policy.model import Policy
from sandboxer.words import BUILT_IN, Origin

HOLE = Grant(
    topic="display",
    words="can see all windows",
    detail="X11 keeps nothing apart",
    weight=Weight.HOLE,
    origin=Origin("sets/gui.toml", 3, "display.x11"),
)
DOWNLOADS = Grant(
    topic="files",
    words="can read and change Downloads",
    weight=Weight.ACCESS,
    origin=Origin("apps/foo.toml", 7, "files.write"),
)
OWN = Grant(topic="kernel", words="sees its own processes", weight=Weight.NOTICE, origin=BUILT_IN)


def reads(path: str, line: int, detail: str = "") -> Grant:
    origin = Origin("sets/base.toml", line, "files.system")
    return Grant(topic="files", words=f"can read {path}", detail=detail, weight=Weight.NOTICE, origin=origin)


def told(*found: Grant | Withheld, policy: Effective | None = None) -> list[str]:
    return plain(account(policy or effective(Policy(summary="Foo"), "foo"), found)).splitlines()


def test_holes_come_first_with_what_they_mean() -> None:
    page = told(OWN, DOWNLOADS, HOLE)
    start = page.index("Holes, through which it reaches beyond its box")
    assert [
        "  can see all windows  [sets/gui.toml:3 display.x11]",
        "    X11 keeps nothing apart",
    ] == page[start + 1 : start + 3]
    assert start < page.index("Files") < page.index("Kernel")
    assert "Display" not in page


def test_a_box_without_holes_says_so() -> None:
    assert "Holes: none" in told(OWN)


def test_what_touches_the_users_own_comes_before_what_every_program_needs() -> None:
    page = told(OWN, reads("/etc/fonts", 4), DOWNLOADS)
    assert ["Files", "Kernel"] == [text for text in page if text in ("Files", "Kernel")]
    assert page.index("  can read and change Downloads  [apps/foo.toml:7 files.write]") < page.index(
        "  can read /etc/fonts  [sets/base.toml:4 files.system]"
    )


def test_sentences_that_differ_in_the_path_alone_are_told_as_one() -> None:
    page = told(reads("/etc/a", 9), reads("/etc/b", 4), reads("/etc/c", 5, "/etc/c → /usr/c"))
    assert "  can read /etc/a, /etc/b  [sets/base.toml:4-9 files.system]" in page
    assert "  can read /etc/c; /etc/c → /usr/c  [sets/base.toml:5 files.system]" in page


def test_what_may_be_changed_is_never_told_together_with_what_is_only_read() -> None:
    page = told(DOWNLOADS, reads("/etc/a", 4))
    assert 2 == sum(text.startswith("  can ") for text in page)


def test_what_the_box_does_not_have_ends_the_page() -> None:
    page = told(OWN, Withheld(topic="network", words="no network"), Withheld(topic="sound", words="no sound"))
    assert ["Nothing else", "  no network; no sound"] == page[-2:]


def test_an_application_without_a_policy_is_told_what_to_do() -> None:
    page = told(OWN, policy=effective(Policy(summary="Strict"), "bar", found=False))
    assert page[0].startswith("bar: no policy has this name")
    assert "~/.config/sandboxer/apps/bar.toml" in page[0]


def test_a_path_that_speaks_to_the_terminal_is_made_harmless() -> None:
    assert any("\\x1b[2J" in text for text in told(reads("/etc/\x1b[2J", 3)))


def test_files_are_named_in_the_order_in_which_they_hold() -> None:
    files = (
        "command line",
        "apps/foo.toml",
        "~/.config/sandboxer/sets/gui.toml",
        "sets/gui.toml",
        "sets/base.toml",
    )
    origins = {(str(index), ""): Origin(file, 1, "k") for index, file in enumerate(files)}
    policy = Effective(name="foo", policy=Policy(extends=("base", "gui")), origins=origins, found=True)
    assert (
        "sets/base.toml",
        "~/.config/sandboxer/sets/gui.toml",
        "sets/gui.toml",
        "apps/foo.toml",
        "command line",
    ) == policy_files(policy)


def test_machines_get_every_grant_by_itself_with_its_line() -> None:
    values = facts(effective(Policy(), "foo"), (HOLE, reads("/etc/a", 4), reads("/etc/b", 5)))
    grants = values["grants"]
    assert isinstance(grants, list)
    assert ["hole", "notice", "notice"] == [grant["weight"] for grant in grants]
    assert {"file": "sets/gui.toml", "line": 3, "key": "display.x11"} == grants[0]["origin"]
