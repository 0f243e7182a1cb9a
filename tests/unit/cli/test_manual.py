"""Manual pages: fresh, complete, and without a complaint of groff or mandoc."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import need

from sandboxer import __version__
from sandboxer.cli import grammar
from sandboxer.cli.manual import roff
from sandboxer.cli.manual.__main__ import PAGES
from sandboxer.cli.manual.__main__ import main as generate
from sandboxer.paths import data_file
from sandboxer.policy.keys import keys


def shown(name: str) -> str:
    """A page as plain text, each paragraph on one line."""
    done = subprocess.run(
        [need("groff"), "-man", "-Tutf8", "-P-cbou", "-rLL=2000n", data_file(f"man/{name}")],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.replace("\u2212", "-").replace("\u2010", "-").replace("\u2019", "'")


@pytest.mark.parametrize("name", PAGES)
def test_the_shipped_page_is_fresh(
    name: str, capsys: pytest.CaptureFixture[str], sandbox_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = str(sandbox_program.with_name("sandbox-broker"))
    monkeypatch.setattr("sandboxer.cli.manual.broker.broker_client", lambda: client)
    assert 0 == generate([name])
    fresh = f"python -m sandboxer.cli.manual {name} > desktop/man/{name}"
    assert capsys.readouterr().out == Path(data_file(f"man/{name}")).read_text(), fresh


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    "words",
    [("mandoc", "-Tlint", "-Wwarning"), ("groff", "-man", "-ww", "-z", "-Tutf8")],
    ids=lambda words: words[0],
)
def test_formatters_find_nothing_wrong(name: str, words: tuple[str, ...]) -> None:
    program = need(words[0])
    done = subprocess.run(
        [program, *words[1:], data_file(f"man/{name}")], capture_output=True, text=True, check=False
    )
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_the_command_has_every_verb_and_option_with_its_meaning() -> None:
    page = shown("sandbox.1")
    for verb in grammar.with_parts(grammar.verbs()):
        assert f"\n   {verb.name}" in page, verb.name
        for option in verb.options:
            assert option.names[-1] in page
            if option.names[-1] != "--help":
                assert option.help[1:].removesuffix(".").replace("`", "") in page, option.help


def test_the_client_has_every_verb_with_its_meaning() -> None:
    page = shown("sandbox-broker.1")
    for words in (
        *("open [-w|-a|-u] [-c] [-m MODE] PATH [-- CMD...]", "-a, --append", "list [-t] [-0] PATH"),
        *("connect SERVICE [-- CMD...]", "hello"),
    ):
        assert f"\n       {words}" in page
    assert "       print the names in a directory; -t, --types: f, d, l or o before each\n" in page


def test_the_format_has_every_key_with_its_meaning() -> None:
    page = shown("sandboxer-policy.5")
    for key in keys().values():
        assert f"\n       {key.name.rpartition('.')[2]} = {key.expects}\n" in page
        assert key.description.replace("`", "")[-40:] in page.replace(".  ", ". "), key.name


def test_the_page_has_the_version_and_the_date_of_the_release() -> None:
    metainfo = ET.parse(data_file("metainfo/org.sandboxer.Sandboxer.metainfo.xml"))
    newest = metainfo.find("releases/release")
    assert newest is not None
    assert (__version__, roff.RELEASED) == (newest.get("version"), newest.get("date"))
    assert __version__ in shown("sandbox.1").splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "source"),
    [
        (".so /etc/passwd", "\\&.so /etc/passwd"),
        ("'quoted'", "\\(aqquoted\\(aq"),
        ("a\\nb", "a\\enb"),
        ("`--set a=b` sets", "\\fB\\-\\-set a=b\\fR sets"),
        ("read-only, **never** more", "read-only, \\fBnever\\fR more"),
        ("Musik…", "Musik\\[u2026]"),
        ("see [the model](../x.md)", "see the model"),
    ],
)
def test_nothing_in_a_text_is_taken_for_a_request(words: str, source: str) -> None:
    expected = f"\\&{source}" if source.startswith("\\(aq") else source
    assert [".PP", expected] == roff.paragraph(words)


def test_markdown_becomes_macros() -> None:
    page = "# Title\n\n## Part `x`\n\nOne.\nTwo.\n\n- a\n  b\n- c\n\n| k | v |\n| --- | --- |\n| `K` | V |\n"
    page += "\n```toml\n.x = 1\n\n[y]\n```\n"
    assert [
        *('.SH "PART X"', ".PP", "One.", "Two.", ".IP \\(bu 3", "a b", ".IP \\(bu 3", "c"),
        *(".TP", "\\fBK\\fR", "V", ".PP", ".RS 4", ".nf", "\\&.x = 1", "\\&", "[y]", ".fi", ".RE"),
    ] == list(roff.markdown(page))


def test_a_page_that_isnt_one_of_them_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == generate(["intro.1"])
    assert "sandbox.1" in capsys.readouterr().err
