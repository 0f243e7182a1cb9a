"""Unit files: lines, sections, lists and resets, and several files together."""

from __future__ import annotations

from sandboxer.desktop.units.text import merged

FIRST = """\
# a comment
[Unit]
Description=x

[Service]
Environment=A=1
Environment=B=2
ExecStart=/bin/a \\
# inside
  b \\
  c
ExecReload=/bin/r
Type = notify
"""


def test_lines_are_joined_and_comments_inside_left_out() -> None:
    unit = merged([("f", FIRST)])
    (start,) = unit.values("ExecStart")
    assert ["/bin/a", "b", "c"] == start.value.split()
    assert ("f", 8) == (start.file, start.line)


def test_the_last_single_value_holds_and_sections_are_apart() -> None:
    unit = merged([("f", FIRST), ("d", "[Service]\nType=exec\n[Unit]\nType=dbus\n")])
    assert "exec" == unit.value("Type")
    assert "dbus" == unit.value("Type", "Unit")


def test_an_empty_value_forgets_what_was_before() -> None:
    unit = merged([("f", FIRST), ("d", "[Service]\nEnvironment=\nEnvironment=C=3\nExecReload=\n")])
    assert ["C=3"] == [setting.value for setting in unit.values("Environment")]
    assert () == unit.values("ExecReload")


def test_an_escaped_backslash_at_the_end_joins_nothing() -> None:
    unit = merged([("f", "[Service]\nA=x\\\\\nB=y\n")])
    assert ("x\\\\", "y") == (unit.value("A"), unit.value("B"))


def test_what_stands_before_a_section_or_assigns_nothing_is_left_out() -> None:
    assert () == merged([("f", "A=1\n[Service]\nnothing\n=x\n")]).settings
