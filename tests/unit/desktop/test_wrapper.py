"""Wrappers: what an entry starts is started in a box, and everything else is as it was."""

from __future__ import annotations

import pytest

from sandboxer.desktop.wrappers.key_file import KeyFile
from sandboxer.desktop.wrappers.programs import Candidate
from sandboxer.desktop.wrappers.read_back import starts_outside
from sandboxer.desktop.wrappers.wrapper import CannotWrap, Target, boxed, digest, service, shim, wrapped

INSTALLED = {
    "tool": "/usr/bin/tool",
    "/usr/bin/tool": "/usr/bin/tool",
    "/usr/lib/tool/tool": "/usr/lib/tool/tool",
    "/opt/tool/tool": "/opt/tool/tool",
    "helper": "/usr/bin/helper",
    "sh": "/bin/sh",
}
POLICY = Candidate(name="tool", commands=("tool",), program="/usr/bin/tool", shows_windows=True)
LAUNCHER = "/opt/sandboxer/bin/sandbox"
TARGET = Target(launcher=LAUNCHER, policy=POLICY)
START = f"{LAUNCHER} --from-menu tool"
OTHER = f"{LAUNCHER} --from-menu run --policy tool --"


def lookup(name: str) -> str:
    return INSTALLED.get(name, "")


def wrap(text: str, target: Target = TARGET) -> KeyFile:
    made = wrapped(text.encode(), "/usr/share/applications/tool.desktop", target, lookup)
    assert "" == starts_outside(made, target.launcher)
    return KeyFile(made)


def entry(*lines: str) -> str:
    return "\n".join(["[Desktop Entry]", "Type=Application", "Name=Tool", *lines, ""])


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("tool %U", f"{START} %U"),
        ('/usr/bin/tool --name "a b" %i %c', f'{START} --name "a b" %i %c'),
        ("/usr/lib/tool/tool %u", f"{START} %u"),
        ("tool %d %m%% -%n", f"{START} %% -"),
        ("env A=b tool %f", f"env A=b {START} %f"),
        (
            "/usr/bin/env -u X -i A='b c' LD_PRELOAD=x PYTHONPATH=y env C=d tool",
            f"env -u X A='b c' C=d {START}",
        ),
        ("env LD_PRELOAD=/x tool", START),
        ("/opt/tool/tool %U", f"{OTHER} /opt/tool/tool %U"),
        ("helper --now", f"{OTHER} /usr/bin/helper --now"),
        ("gone --now", f"{OTHER} gone --now"),
        ("sh -c 'tool %U; true'", f"{OTHER} /bin/sh -c 'tool %U; true'"),
        ("env -S 'A=b tool'", f"{OTHER} env -S 'A=b tool'"),
        ("gapplication launch org.example.Tool %U", f"{START} %U"),
        ("gapplication action org.example.Tool new", START),
    ],
)
def test_a_command_starts_the_launcher_with_its_own_words_behind(line: str, made: str) -> None:
    assert made == boxed(line, TARGET, lookup)


def test_a_launcher_whose_path_needs_quotes_gets_them() -> None:
    odd = Target(launcher='/home/ann/a b/100%/"x"/sandbox', policy=POLICY)
    text = wrap(entry("Exec=tool %U"), odd)
    assert '"/home/ann/a b/100%%/\\\\"x\\\\"/sandbox" --from-menu tool %U' == text.get(
        "Desktop Entry", "Exec"
    )


def test_a_command_that_cannot_be_understood_is_no_wrapper() -> None:
    with pytest.raises(CannotWrap, match="quote"):
        wrapped(entry('Exec=tool "').encode(), "/x", TARGET, lookup)


def test_every_command_of_every_group_is_rewritten() -> None:
    text = wrap(
        entry("Exec=tool %U", "Exec[de]=tool --de", "Actions=New;Help;")
        + "[Desktop Action New]\nName=New\nExec=tool --new\n"
        + "[Desktop Action Help]\nName=Help\nExec=helper\n"
        + "[New Shortcut Group]\nExec=tool --old-unity\n"
    )
    assert [
        f"{START} %U",
        f"{START} --de",
        f"{START} --new",
        f"{OTHER} /usr/bin/helper",
        f"{START} --old-unity",
    ] == [pair.value for pair in text.pairs() if pair.bare_key == "Exec"]


def test_an_action_that_only_d_bus_could_start_starts_the_application() -> None:
    text = wrap(
        entry("DBusActivatable=true", "Exec=tool --gui %U", "Actions=New;")
        + "[Desktop Action New]\nName=New\n"
    )
    assert f"{START} --gui" == text.get("Desktop Action New", "Exec")
    assert "false" == text.get("Desktop Entry", "DBusActivatable")


def test_an_entry_without_a_command_gets_one() -> None:
    text = wrap(entry("DBusActivatable=true"))
    assert f"{START} %U" == text.get("Desktop Entry", "Exec")


def test_where_it_comes_from_is_written_down() -> None:
    text = wrap(entry("Exec=tool"))
    found = [text.get("Desktop Entry", f"X-Sandboxer-{key}") for key in ("Origin", "Policy", "Digest")]
    assert ["/usr/share/applications/tool.desktop", "tool", digest(entry("Exec=tool").encode())] == found


@pytest.mark.parametrize(
    ("lines", "tried"),
    [
        (("Exec=tool",), "/usr/bin/tool"),
        (("Exec=env A=b /usr/lib/tool/tool",), "/usr/lib/tool/tool"),
        (("Exec=tool", "TryExec=helper"), "/usr/bin/helper"),
        (("Exec=tool", "TryExec=gone"), "gone"),
    ],
)
def test_the_wrapper_is_shown_as_long_as_the_program_is_there(lines: tuple[str, ...], tried: str) -> None:
    assert tried == wrap(entry(*lines)).get("Desktop Entry", "TryExec")


def test_all_else_stays_line_by_line() -> None:
    lines = (
        "# comment",
        "Name[de]=Werkzeug",
        "MimeType=text/html;x-scheme-handler/https;",
        "StartupWMClass=Tool",
        "X-GNOME-Autostart-enabled=true",
        "Exec=tool",
        "",
        "[X-Unknown Group]",
        "What=ever \\s",
    )
    made = wrap(entry(*lines)).content().decode().splitlines()
    assert [line for line in entry(*lines).splitlines() if line != "Exec=tool"] == [
        line for line in made if not line.startswith(("Exec=", "TryExec=", "X-Sandboxer-"))
    ]


def test_the_second_reader_finds_a_command_that_starts_outside() -> None:
    text = entry(f"Exec={START}") + "[Desktop Action New]\nExec=tool --new\n"
    assert "[Desktop Action New] Exec would start tool" == starts_outside(text.encode(), LAUNCHER)
    assert starts_outside(b"no entry", LAUNCHER).startswith("it is no right desktop entry")


def test_a_service_is_owned_by_our_own_program_and_not_started_by_systemd() -> None:
    made = KeyFile(service("org.example.Tool", "/usr/share/dbus-1/services/x.service", TARGET))
    assert [("Name", "org.example.Tool"), ("Exec", f"{LAUNCHER} install --serve org.example.Tool")] == [
        (pair.key, pair.value) for pair in made.pairs()
    ]


def test_a_shim_hands_all_words_on() -> None:
    assert f'exec {LAUNCHER} tool "$@"' == shim("/usr/bin/tool", TARGET).decode().splitlines()[-1]
    other = shim("/opt/my tool/tool", TARGET).decode().splitlines()[-1]
    assert f"exec {LAUNCHER} run --policy tool -- '/opt/my tool/tool' \"$@\"" == other
