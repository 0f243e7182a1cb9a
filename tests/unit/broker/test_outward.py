"""What may be opened outside."""

from __future__ import annotations

import errno

import pytest

from sandboxer.broker.outward import FILE, LINK, check, path_of, permits
from sandboxer.broker.rules import Outward

RULES = (
    Outward(kind="link", value="https", origin="p:1"),
    Outward(kind="link", value="mailto", origin="p:2"),
    Outward(kind="file", value="application/pdf", origin="p:3"),
    Outward(kind="file", value="image/*", origin="p:4"),
)


def said(text: str | bytes, rules: tuple[Outward, ...] = RULES) -> str:
    outcome = check(rules, text.encode() if isinstance(text, str) else text)
    return errno.errorcode[outcome.error] if outcome.error else outcome.text.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "text",
    ["https://example.org/a?b=c&d=%20#e", "https:x", "mailto:a@b.example", "https://[::1]:8080/$(x)*!,;=~"],
)
def test_a_link_of_a_permitted_scheme_passes_as_it_is(text: str) -> None:
    assert text == said(text)
    assert LINK == check(RULES, text.encode()).kind


def test_a_scheme_is_written_in_small_letters() -> None:
    assert "https://Example.org/A" == said("HTTPS://Example.org/A")


@pytest.mark.parametrize("text", ["http://x/", "ftp://x", "javascript:alert(1)", "data:text/html,x", "vscode://x"])
def test_other_schemes_are_refused(text: str) -> None:
    assert "EACCES" == said(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "--version",
        "-https://x",
        ":x",
        "https:",
        "https://a b",
        "https://a\tb",
        "https://a\nb",
        "https://a\0b",
        'https://a"b',
        "https://a'b",
        "https://a`b",
        "https://a\\b",
        "https://a|b",
        "https://a<b>",
        "https://\x7f",
        "https://ä",
        " https://x",
        "ht tps://x",
        "1https://x",
        "https://" + "x" * 4095,
        "relative/path",
        "/a//b",
        "/a/../b",
        "/a/./b",
        "/a/",
        "/",
        "/a\0b",
        "file:",
        "file:x",
        "file://host/x",
        "file:///a/../b",
        "file:///a%2f..%2fb",
        "file:///a%00b",
        "file:///a%",
        "file:///a%4",
        "file:///a%zz",
        "file:///a?b",
        "file:///a#b",
    ],
)
def test_what_is_neither_a_link_nor_a_path_is_malformed(text: str) -> None:
    assert "EINVAL" == said(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/tmp/a b.pdf", "/tmp/a b.pdf"),
        ("/tmp/-x", "/tmp/-x"),
        ("file:///tmp/a%20b", "/tmp/a b"),
        ("file:/tmp/a", "/tmp/a"),
        ("file://localhost/tmp/a", "/tmp/a"),
        ("FILE:///tmp/%41", "/tmp/A"),
    ],
)
def test_a_file_passes_as_a_path(text: str, path: str) -> None:
    assert path == said(text)
    assert FILE == check(RULES, text.encode()).kind


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    assert b"/a\xff" == check(RULES, b"file:///a%ff").text == check(RULES, b"/a\xff").text


def test_without_a_rule_for_files_none_passes() -> None:
    assert "EACCES" == said("/tmp/a", RULES[:2])
    assert "EACCES" == said("file:///tmp/a", RULES[:2])


def test_a_rule_called_file_gives_no_files() -> None:
    assert "EACCES" == said("file:///etc/passwd", (Outward(kind="link", value="file", origin="p"),))


def test_types_go_by_name_or_by_group() -> None:
    assert "p:3" == getattr(permits(RULES, "application/pdf"), "origin", None)
    assert "p:4" == getattr(permits(RULES, "image/png"), "origin", None)
    for other in ("application/x-desktop", "text/html", "image", "imagex/png", "inode/directory", "https"):
        assert permits(RULES, other) is None


def test_a_path_of_a_uri_is_decoded_once() -> None:
    assert b"/a%41" == path_of(b"///a%2541")
