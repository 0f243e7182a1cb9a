"""Completion, in the shells themselves: what is offered; that nothing found is evaluated, and no program started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import shells
from conftest import need
from shells import Complete

from sandboxer.cli import main
from sandboxer.cli.shells.__main__ import SHELLS
from sandboxer.cli.shells.__main__ import main as generate
from sandboxer.cli.shells.tables import quoted
from sandboxer.paths import data_file

FILES = {"bash": "sandbox.bash", "zsh": "_sandbox", "fish": "sandbox.fish"}
BOX = f"mypaint.{os.getpid()}"
"""It looks as if it ran: there is a process of that number."""


@pytest.fixture(scope="module", params=sorted(FILES))
def complete(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Complete]:
    """A shell that has read the shipped script, in a home with a policy, a box and some files."""
    shell = request.param
    program = need(shell)
    top = tmp_path_factory.mktemp(shell)
    work, apps = top / "work", top / "home/.config/sandboxer/apps"
    for directory in (
        work,
        apps,
        top / "run/sandboxer/boxes" / BOX,
        top / "run/sandboxer/boxes/gone.999999999",
    ):
        directory.mkdir(parents=True)
    for name in (
        "mypaint.toml",
        "$(touch owned).toml",
        "`touch owned`.toml",
        "a b.toml",
        "-x.toml",
        ";touch owned;.toml",
    ):
        (apps / name).touch()
    for name in ("page.html", "data.csv", "my file.txt"):
        (work / name).touch()
    for name in (
        "sandbox",
        "sandboxer",
        "python3",
    ):  # none is started to complete: it takes too long for a key
        (top / name).write_text(f"#!/bin/sh\ntouch '{top}/owned'\n")
        (top / name).chmod(0o755)
    env = {
        "HOME": str(top / "home"),
        "XDG_RUNTIME_DIR": str(top / "run"),
        "PATH": f"{top}:{os.environ['PATH']}",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }
    script = Path(data_file(f"completions/{FILES[shell]}"))
    if shell == "fish":
        yield shells.fish(program, script, env, work)
    else:
        terminal, ask = (shells.bash if shell == "bash" else shells.zsh)(program, script, env, work)
        yield ask
        terminal.close()
    assert [] == list(top.rglob("owned"))


def whole(line: str, offers: list[str]) -> set[str]:
    """Offers as whole words: bash replaces what follows the last = alone, zsh leaves the = of a key to be added."""
    begun = line.rpartition(" ")[2]
    stem = begun[: max(begun.rfind("="), begun.rfind(":")) + 1]
    return {(offer if offer.startswith(stem) else stem + offer).removesuffix("=") for offer in offers}


@pytest.mark.parametrize("shell", sorted(FILES))
def test_the_shipped_script_is_fresh(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == generate([shell])
    fresh = f"python -m sandboxer.cli.shells {shell} > desktop/completions/{FILES[shell]}"
    assert capsys.readouterr().out == Path(data_file(f"completions/{FILES[shell]}")).read_text(), fresh


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sandbox gran", {"grant", "grants"}),
        ("sandbox firefox-", {"firefox-esr"}),
        ("sandbox --debug mypa", {"mypaint"}),
        ("sandbox --ver", {"--version"}),
        ("sandbox firefox pag", {"page.html"}),
        ("sandbox run --po", {"--policy"}),
        ("sandbox run --policy stri", {"strict"}),
        ("sandbox run --policy strict -- unshar", {"unshare"}),
        ("sandbox run -- ls dat", {"data.csv"}),
        ("sandbox run --set network.", {"network.access"}),
        ("sandbox run --set network.access=", {"network.access=host", "network.access=none"}),
        ("sandbox run --set=network.access=h", {"--set=network.access=host"}),
        ("sandbox run --fd DATA=dat", {"DATA=data.csv"}),
        ("sandbox explain mypa", {"mypaint"}),
        ("sandbox explain links", {"links"}),
        (
            "sandbox explain --set sound.playback=",
            {f"sound.playback={x}" for x in ("true", "false", "if-present")},
        ),
        ("sandbox explain --json --pl", {"--plan"}),
        ("sandbox check debu", {"debug"}),
        ("sandbox check pag", {"page.html"}),
        ("sandbox open firefox pag", {"page.html"}),
        ("sandbox grants ", {"mypaint", BOX}),
        ("sandbox revoke mypaint.", {BOX}),
        ("sandbox grant mypaint --for 10m dat", {"data.csv"}),
        ("sandbox exec mypaint unshar", {"unshare"}),
        ("sandbox kill --signal KI", {"KILL"}),
        ("sandbox unit wra", {"wrap"}),
        ("sandbox unit wrap --po", {"--policy"}),
        ("sandbox install firefox mypa", {"mypaint"}),
    ],
)
def test_what_fits_is_offered(complete: Complete, line: str, expected: set[str]) -> None:
    assert expected == whole(line, complete(line))


def test_all_verbs_and_applications_are_offered_first(complete: Complete) -> None:
    offers = set(complete("sandbox "))
    assert {"run", *main.VERBS, "firefox", "ffmpeg", "mypaint"} <= offers


def test_what_cant_be_a_policys_name_is_not_offered(complete: Complete) -> None:
    offers = complete("sandbox open ")
    assert "mypaint" in offers
    assert [] == [offer for offer in offers if not offer.replace("-", "").isalnum()]


def test_a_file_with_a_blank_is_offered(complete: Complete) -> None:
    assert "my file.txt" == " ".join(complete("sandbox firefox my")).replace("\\", "")


def test_bash_offers_with_its_own_checks_of_globs_on(tmp_path: Path) -> None:
    script = data_file("completions/sandbox.bash")
    words = "COMP_WORDS=(sandbox expl) COMP_CWORD=1 COMP_LINE='sandbox expl' COMP_POINT=12"
    done = subprocess.run(
        [
            need("bash"),
            "--norc",
            "-c",
            f"shopt -s failglob; . '{script}'; {words}; _sandbox; echo \"${{COMPREPLY[@]}}\"",
        ],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "explain\n" == done.stdout


def test_texts_are_quoted_as_all_three_shells_read_it() -> None:
    assert "'it\u2019s $HOME `x`'" == quoted("it's $HOME `x`")


def test_a_shell_that_isnt_one_of_them_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == generate(["csh"])
    assert "|".join(SHELLS) in capsys.readouterr().err
