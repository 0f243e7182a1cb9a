"""Wrappers on a real session: GLib's and GTK's launchers, D-Bus activation, the shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import need
from sessions import DesktopSession

NAME = "org.example.Copier"
PATH = "/org/example/Copier"
APPLICATION = "org.freedesktop.Application"
NOTHING = "@a{sv} {}"
STATUS = "cp /proc/self/status ~/out/status"
"""Said in the box: a path among the command's words would be a document from outside."""
POLICY = """
command = ["{command}"]
[files]
write = ["~/out"]
[display]
x11 = true
"""
QUOTING = [
    ("printf [%%s] %U", ["FILE"]),  # GLib gives a local file by its path
    ("printf [%%s] %u", ["FILE"]),
    ('printf "[%%s]" "a b" %f \'c  d\'', ["a b", "FILE", "c  d"]),
    (r'printf [%%s] "\\\\ \\$HOME \\`id\\` \\"q\\""', ['\\ $HOME `id` "q"']),
    (r"env A=b printf [%%s]\s100%% ~ $HOME %c", ["100%", "~", "$HOME", "A & B; <c>"]),
    ('/usr/bin/printf [%%s] "" x%%U %k "*" %m %d', ["", "x%U", "ENTRY", "*"]),
]
"""Exec lines as they are in files, and the words that `printf` is to get, in brackets."""


def entry(desktop: DesktopSession, name: str, *lines: str) -> Path:
    """A system's entry: in a directory of XDG_DATA_DIRS."""
    path = desktop.home / "share/applications" / f"{name}.desktop"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["[Desktop Entry]", "Type=Application", *lines, ""]))
    return path


def variables(desktop: DesktopSession) -> dict[str, str]:
    return {"XDG_DATA_DIRS": f"{desktop.home}/share:/usr/local/share:/usr/share"}


def installed(desktop: DesktopSession, policy: str, *words: str) -> None:
    """Write a policy for the command of its name, and install it."""
    file = desktop.home / f".config/sandboxer/apps/{policy}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(POLICY.format(command=policy))
    (desktop.home / "out").mkdir(exist_ok=True)
    done = desktop.run("sandbox", "install", policy, *words, env=variables(desktop))
    assert 0 == done.returncode, done.stderr


def seccomp(status: Path) -> str:
    """The mode that a process's /proc/self/status tells: 2 in a box."""
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return lines["Seccomp"].strip()


@pytest.mark.parametrize("launcher", ["gio", "gtk-launch"])
def test_every_word_of_an_entry_arrives_as_it_would_without_the_wrapper(
    desktop: DesktopSession, launcher: str
) -> None:
    need(launcher)
    file = desktop.home / "out" / "a %20 file.txt"
    names = [f"quoting{number}" for number in range(len(QUOTING))]
    origins = [
        entry(desktop, name, "Name=A & B; <c>", f"Exec={line}")
        for name, (line, _) in zip(names, QUOTING, strict=True)
    ]
    installed(desktop, "printf")
    file.write_text("x")
    for name, origin, (_, words) in zip(names, origins, QUOTING, strict=True):
        wrapper = desktop.home / ".local/share/applications" / f"{name}.desktop"
        # What %k stands for is a file, and so comes along as a document. `gio launch` doesn't tell it.
        known = {"FILE": str(file), "ENTRY": f"/run/documents/1/{name}.desktop"}
        wanted = [known.get(word, word) for word in words if launcher != "gio" or word != "ENTRY"]
        for path in (origin, wrapper):
            start = ("gio", "launch", path) if launcher == "gio" else ("gtk-launch", name)
            if launcher == "gtk-launch" and path == origin:
                continue
            opened = [file] if "FILE" in words else []  # GLib appends it where no field code takes it
            done = desktop.run(*start, *opened, env=variables(desktop))
            assert 0 == done.returncode, done.stderr
            assert "".join(f"[{word}]" for word in wanted) == done.stdout


def service(desktop: DesktopSession, name: str) -> Path:
    """A D-Bus service as applications bring it, which starts the program without a box."""
    path = desktop.home / f".local/share/dbus-1/services/{name}.service"
    path.parent.mkdir(parents=True)
    command = f"/usr/bin/cp /proc/self/status {desktop.home}/out/outside"
    path.write_text(f"[D-BUS Service]\nName={name}\nExec={command}\n")
    return path


def test_an_activation_by_d_bus_starts_the_application_in_its_box(desktop: DesktopSession) -> None:
    need("gdbus")
    need("gapplication")
    out = desktop.home / "out"
    entry(
        desktop,
        NAME,
        "Name=Copier",
        "DBusActivatable=true",
        f"Exec=sh -c '{STATUS}; for file; do cp \"$file\" ~/out; done' sh %F",
        "Actions=again;",
        "[Desktop Action again]",
        "Name=Again",
        "Exec=sh -c 'env >~/out/action'",
    )
    service(desktop, NAME)
    installed(desktop, "sh")
    note = desktop.home / "a note.txt"
    note.write_text("a note")
    assert "DBusActivatable=false" in (desktop.home / f".local/share/applications/{NAME}.desktop").read_text()

    def call(method: str, *words: str) -> str:
        to = ("--dest", NAME, "--object-path", PATH, "--method", f"{APPLICATION}.{method}")
        done = desktop.run("gdbus", "call", "--session", *to, *words)
        return done.stdout.strip() or done.stderr.strip()

    assert "()" == call("Activate", NOTHING)
    desktop.until(lambda: (out / "status").exists() and (out / "status").stat().st_size > 0, "the start")
    assert "2" == seccomp(out / "status")
    done = desktop.run("gapplication", "launch", NAME, note)
    assert 0 == done.returncode, done.stderr
    desktop.until((out / note.name).exists, "the opened file")
    desktop.until(lambda: (out / note.name).read_text() == "a note", "the opened file's content")
    assert "()" == call("ActivateAction", "again", "@av []", "{'desktop-startup-id': <'start-7'>}")
    desktop.until(lambda: (out / "action").exists() and (out / "action").stat().st_size > 0, "the action")
    assert b"DESKTOP_STARTUP_ID=start-7" in (out / "action").read_bytes().splitlines()
    assert "no such action" in call("ActivateAction", "quit", "@av []", NOTHING)
    assert "no links" in call("Open", "['--version']", NOTHING)
    assert not (out / "outside").exists()


def test_after_undo_an_activation_starts_what_it_did_before(desktop: DesktopSession) -> None:
    need("gdbus")
    name = f"{NAME}2"  # what stands for the other one may still run
    entry(desktop, name, "Name=Copier", "DBusActivatable=true", "Exec=cp %F")
    shadowed = service(desktop, name)
    before = shadowed.read_bytes()
    installed(desktop, "cp")
    assert before != shadowed.read_bytes()
    done = desktop.run("sandbox", "install", "--undo", env=variables(desktop))
    assert 0 == done.returncode, done.stderr
    assert before == shadowed.read_bytes()
    start = (
        "gdbus",
        "call",
        "--session",
        "--timeout=1",
        "--dest",
        name,
        "--object-path",
        f"{PATH}2",
        "--method",
    )
    desktop.run(*start, f"{APPLICATION}.Activate", NOTHING)  # cp owns no name: the answer is an error
    desktop.until((desktop.home / "out/outside").exists, "the start outside")


def test_a_shim_starts_the_command_of_its_name_in_its_box(desktop: DesktopSession) -> None:
    entry(desktop, "shell", "Name=Shell", "Exec=sh")
    installed(desktop, "sh", "--shims")
    status, shims = desktop.home / "out/status", desktop.home / ".local/bin"
    path = {"PATH": f"{shims}:{desktop.env['PATH']}"}
    done = desktop.run("env", "sh", "-c", f'{STATUS}; printf "[%s]" "$@"', "sh", "a b", "*", env=path)
    assert (0, "[a b][*]") == (done.returncode, done.stdout), done.stderr
    assert "2" == seccomp(status)
    assert 0 == desktop.run("sandbox", "install", "--check", env=variables(desktop) | path).returncode
    desktop.run("sandbox", "install", "--undo", env=variables(desktop))
    assert not shims.exists()


def test_a_start_that_fails_says_so_to_whoever_asked(desktop: DesktopSession) -> None:
    done = desktop.run("sandbox", "install", "--serve", "org.example.Nobody")
    assert 125 == done.returncode
    assert "sandbox install has written no service of this name" in done.stderr
