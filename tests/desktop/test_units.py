"""
User services in boxes, under a real user manager: `sandbox unit wrap` and `unwrap`, and what of sd_notify, the
watchdog, socket activation, reload, stopping, exit statuses and environment passes through a box.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PROGRAMS
from sessions import DesktopSession

from sandboxer.desktop.units.hardening import REPLACED
from sandboxer.desktop.units.words import Command, commands

MANAGER = "org.freedesktop.systemd1"
NEWER = ("PrivatePIDs", "PrivateBPF", "BindLogSockets")
"""Settings that systemd before 257 doesn't know."""
PYTHON = "/usr/bin/python3 -IS"


class Units:
    """The session's own units, a directory that the service may write to, and what its service program has said."""

    def __init__(self, desktop: DesktopSession) -> None:
        self.desktop = desktop
        self.directory = desktop.home / ".config/systemd/user"
        self.state = desktop.home / "state"
        self.state.mkdir()
        self.log = self.state / "log"
        self.program = self.state / "service.py"
        shutil.copy(PROGRAMS / "service.py", self.program)
        self.command = f"{PYTHON} {self.program} {self.log}"

    def write(self, name: str, text: str) -> Path:
        """A unit, or a drop-in ("a.service.d/x.conf"); the manager knows of it."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.desktop.systemctl("daemon-reload")
        return path

    def sandbox(self, *words: str, status: int = 0) -> str:
        """What `sandbox unit WORDS` says."""
        done = self.desktop.run("sandbox", "unit", *words)
        assert status == done.returncode, done.stdout + done.stderr
        return done.stdout + done.stderr

    def wrap(self, name: str, *more: str) -> str:
        """Wrapped, with the directory of the service program granted."""
        return self.sandbox(
            "wrap", name, "--policy", "strict", "--set", f'files.write=["{self.state}"]', *more
        )

    def said(self, begins: str) -> list[str]:
        """Lines of the log that begin so, what follows them."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line[len(begins) :].strip() for line in lines if line.startswith(begins)]

    def started(self) -> dict[str, Any]:
        """What the service said of its last start."""
        self.desktop.until(lambda: bool(self.said("started")), "the service's start")
        found: dict[str, Any] = json.loads(self.said("started")[-1])
        return found

    def ask(self, text: str) -> bytes:
        """What the service answers on its socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.state / "socket"))
            client.sendall(text.encode())
            return client.recv(100)

    def reaches(self, name: str, state: str) -> str:
        """Wait for a unit's state; its result."""
        self.desktop.until(lambda: self.desktop.property(name, "ActiveState") == state, f"{name} {state}")
        return self.desktop.property(name, "Result")


@pytest.fixture
def units(desktop: DesktopSession) -> Units:
    return Units(desktop)


SOCKET = "[Socket]\nListenStream={state}/socket\nFileDescriptorName=door\n"


def notifying(units: Units, more: str = "") -> None:
    """A service of Type=notify that a socket starts."""
    units.write("told.socket", SOCKET.format(state=units.state))
    units.write(
        "told.service",
        f"[Service]\nType=notify\nExecStart={units.command} 0.3\nExecReload=/bin/kill -HUP $MAINPID\n"
        f"ExecReload=/bin/sh -c 'kill -HUP $MAINPID'\n{more}",
    )


def test_readiness_status_and_reload_pass_through_a_box(units: Units) -> None:
    notifying(units)
    units.wrap("told.service")
    begun = time.monotonic()
    units.desktop.systemctl("start", "told.service")
    assert time.monotonic() - begun >= 0.3  # not before it was ready
    assert "at work" == units.desktop.property("told.service", "StatusText")
    assert units.started()["namespace"] != units.desktop.facts(1)["mnt"]
    assert units.desktop.in_a_box(
        units.desktop.processes(os.path.basename(os.path.realpath("/usr/bin/python3")))[-1]
    )
    main = units.desktop.property("told.service", "MainPID")
    for word in ("told.service", "told"):
        listed = units.desktop.run("sandbox", "ps", word, "--json").stdout
        (box,) = json.loads(listed)["boxes"]
        assert ("told.service", int(main)) == (box["unit"], box["launcher"])
    assert "UNIT" in units.desktop.run("sandbox", "ps").stdout
    units.desktop.systemctl("reload", "told.service")
    units.desktop.until(
        lambda: len(units.said("reload")) == 2, "both reloads: by the launcher, and in the box"
    )
    units.desktop.until(
        lambda: units.desktop.property("told.service", "StatusText") == "reloaded", "the status"
    )
    assert main == units.desktop.property("told.service", "MainPID")
    units.desktop.systemctl("stop", "told.service")
    assert [""] == units.said("term")  # once
    assert "success" == units.desktop.property("told.service", "Result")


def test_a_connection_starts_it_and_is_answered_from_the_box(units: Units) -> None:
    notifying(units)
    units.wrap("told.service")
    units.desktop.systemctl("start", "told.socket")
    assert b"from the box" == units.ask("hello")
    environment = units.started()["environment"]
    assert ("1", "door") == (environment["LISTEN_FDS"], environment["LISTEN_FDNAMES"])
    assert str(units.started()["pid"]) == environment["LISTEN_PID"]


def test_what_a_box_may_not_tell_is_not_passed_on(units: Units) -> None:
    notifying(units, "FileDescriptorStoreMax=4\nNotifyAccess=all\n")
    units.wrap("told.service")
    units.desktop.systemctl("start", "told.socket")
    units.ask("forge")
    units.desktop.until(
        lambda: units.desktop.property("told.service", "StatusText") == "forged", "the status"
    )
    units.ask("status after")
    units.desktop.until(lambda: units.desktop.property("told.service", "StatusText") == "after", "the status")
    assert "1" != units.desktop.property("told.service", "MainPID")
    assert "0" == units.desktop.property("told.service", "NFileDescriptorStore")


def test_the_watchdog_keeps_it_alive_and_ends_it_when_it_is_silent(units: Units) -> None:
    notifying(units, "WatchdogSec=1\n")
    units.wrap("told.service")
    units.desktop.systemctl("start", "told.socket", "told.service")
    time.sleep(1.5)
    assert "active" == units.desktop.property("told.service", "ActiveState")
    units.ask("quiet")
    assert "watchdog" == units.reaches("told.service", "failed")


@pytest.mark.parametrize(
    ("order", "result", "code", "status"),
    [("exit 7", "exit-code", "1", "7"), ("die 10", "signal", "2", "10"), ("exit 0", "success", "1", "0")],
)
def test_exit_codes_and_signals_are_the_applications(
    units: Units, order: str, result: str, code: str, status: str
) -> None:
    notifying(units)
    units.wrap("told.service")
    units.desktop.systemctl("start", "told.socket", "told.service")
    units.ask(order)
    state = "inactive" if result == "success" else "failed"
    assert result == units.reaches("told.service", state)
    assert (code, status) == (
        units.desktop.property("told.service", "ExecMainCode"),
        units.desktop.property("told.service", "ExecMainStatus"),
    )


def test_variables_of_the_unit_and_its_files_get_in_and_no_others(units: Units) -> None:
    (units.state / "env").write_text("# one\nFROM_FILE='two words'\nONE=2\n")
    units.write(
        "vars.service",
        f'[Service]\nType=exec\nExecStart={units.command}\nEnvironment=ONE=1 "TWO=a b" LD_LIBRARY_PATH=/x\n'
        f"EnvironmentFile={units.state}/env\nEnvironmentFile=-{units.state}/none\n",
    )
    units.wrap("vars.service")
    units.desktop.systemctl("set-environment", "OF_THE_SESSION=secret")
    units.desktop.systemctl("start", "vars.service")
    environment = units.started()["environment"]
    assert ("2", "a b", "two words") == (environment["ONE"], environment["TWO"], environment["FROM_FILE"])
    assert "/x" == environment["LD_LIBRARY_PATH"]
    assert not any(name == "OF_THE_SESSION" or name.startswith("SANDBOXER") for name in environment)
    (units.state / "env").write_text("ADDED=1\n")
    units.sandbox("check")
    units.desktop.systemctl("restart", "vars.service")
    units.desktop.until(lambda: len(units.said("started")) == 2, "the second start")
    assert ("1", "1") == (units.started()["environment"]["ADDED"], units.started()["environment"]["ONE"])


def test_a_file_that_the_application_can_write_leads_nothing_outside(units: Units) -> None:
    """The file could name plans of the application's own making, and which process outside gets the signal."""
    units.write(
        "own.service",
        f"[Service]\nType=exec\nExecStart={units.command}\nConfigurationDirectory=own\n"
        "EnvironmentFile=-%E/own/env\nExecReload=/bin/kill -HUP $MAINPID\n",
    )
    units.wrap("own.service")
    place = units.desktop.home / ".config/own"
    place.mkdir()
    forged = {"HOME": str(place), "XDG_RUNTIME_DIR": f"{place}/run", "MAINPID": "1", "PYTHONPATH": str(place)}
    (place / "env").write_text("".join(f"{name}={value}\n" for name, value in forged.items()))
    (place / "sitecustomize.py").write_text(f"open('{units.state}/escaped', 'w').close()")
    units.desktop.systemctl("start", "own.service")
    environment = units.started()["environment"]
    assert forged == {name: environment[name] for name in forged}
    assert units.started()["namespace"] != units.desktop.facts(1)["mnt"]
    units.desktop.systemctl("reload", "own.service")
    units.desktop.until(lambda: len(units.said("reload")) == 1, "the signal")
    assert ["env", "sitecustomize.py"] == sorted(os.listdir(place)), "no plans, no boxes"
    assert not (units.state / "escaped").exists()


def test_no_program_that_the_application_has_made_runs_outside(units: Units) -> None:
    """Neither as the kill of a reload, nor by a command that comes into the unit after it was wrapped."""
    place = units.state / "bin"
    place.mkdir()
    say = f"#!/bin/sh\nreadlink /proc/self/ns/mnt >>{units.state}/where\n"
    (place / "kill").write_text(say)
    (place / "kill").chmod(0o755)
    text = (
        f"[Service]\nType=exec\nExecSearchPath={place}:/usr/bin\nExecStart={units.command}\n"
        "ExecReload=kill -HUP $MAINPID\n"
    )
    units.write("late.service", text)
    units.wrap("late.service")
    units.write("late.service", f"{text}ExecStartPre={place}/kill\n")
    units.desktop.systemctl("start", "late.service")
    units.started()
    assert not (units.state / "where").exists()
    assert "late.service has changed" in units.sandbox("check", status=1)
    units.desktop.systemctl("reload", "late.service")
    assert [units.started()["namespace"]] == (units.state / "where").read_text().splitlines()


def test_words_reach_the_application_as_they_would_outside(units: Units) -> None:
    words = r"""one "two words" 'it''s' \x41 $$HOME %% %n ${ONE}x $TWO "$TWO" a\;b \; 'q"q' """
    line = f"@{PYTHON.split(maxsplit=1)[0]} called -IS {units.program} {units.log} 0 {words}"
    for name in ("outside.service", "inside@some-thing.service"):
        template = name.replace("some-thing", "")
        units.write(
            template, f'[Service]\nType=exec\nEnvironment=ONE=1 "TWO=x y"\nExecStart={line}\\\n  last\n'
        )
    units.desktop.systemctl("start", "outside.service")
    outside = units.started()
    units.desktop.systemctl("stop", "outside.service")
    units.log.unlink()
    units.wrap("inside@.service")
    units.desktop.systemctl("start", "inside@some-thing.service")
    inside = units.started()
    assert inside["namespace"] != outside["namespace"]
    assert "called" == inside["argv0"]
    assert outside["argv"] == [word.replace("inside@some-thing", "outside") for word in inside["argv"]]
    assert "last" == inside["argv"][-1]


def test_the_directories_that_systemd_makes_for_a_service_are_its_own(units: Units) -> None:
    program = units.state / "writer"
    program.write_text(
        "#!/bin/sh\nset -e\nfor place in $STATE_DIRECTORY $RUNTIME_DIRECTORY $CACHE_DIRECTORY; do\n"
        f"echo made >$place/file\ndone\nenv >{units.log}\npwd >>{units.log}\n"
        f"cat $CREDENTIALS_DIRECTORY/word >>{units.log}\n"
    )
    program.chmod(0o755)
    units.write(
        "dirs.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nStateDirectory=dirs\nRuntimeDirectory=mine/%N\nSetCredential=word:entrusted\n"
        f"CacheDirectory=mine\nWorkingDirectory=%S/dirs\nExecStart={program}\n",
    )
    units.wrap("dirs.service")
    units.desktop.systemctl("start", "dirs.service")
    environment = dict(line.partition("=")[::2] for line in units.log.read_text().splitlines())
    assert "made\n" == Path(environment["STATE_DIRECTORY"], "file").read_text()
    assert "made\n" == (units.desktop.runtime / "mine/dirs/file").read_text()
    assert [environment["STATE_DIRECTORY"], "entrusted"] == units.log.read_text().splitlines()[-2:]


def test_commands_beside_the_main_one_are_in_boxes_too(units: Units) -> None:
    """ExecReload and ExecStop in the main process's, the others in their own."""
    say = units.state / "say"
    say.write_text(
        '#!/bin/sh\nsaid="$1 $(readlink /proc/self/ns/mnt) $(cat /tmp/mark 2>/dev/null) $MAINPID"\n'
        f'[ $1 != start ] || echo shared >/tmp/mark\necho "$said" >>{units.state}/order\n'
        "[ $1 != start ] || exec sleep 1000\n"
    )
    say.chmod(0o755)
    units.write(
        "many.service",
        f"[Service]\nType=exec\nExecCondition={say} condition\nExecStartPre=-{say} pre\nExecStart={say} start\n"
        f"ExecStartPost={say} post\nExecReload=:{say} reload\nExecStop={say} stop\nExecStopPost={say} stoppost\n",
    )
    units.wrap("many.service")
    units.desktop.systemctl("start", "many.service")
    units.desktop.systemctl("reload", "many.service")
    units.desktop.systemctl("stop", "many.service")
    lines = [line.split() for line in (units.state / "order").read_text().splitlines()]
    places = {line[0]: line[1] for line in lines}
    assert {"condition", "pre", "start", "post", "reload", "stop", "stoppost"} == set(places)
    assert units.desktop.facts(1)["mnt"] not in places.values()
    assert places["start"] == places["post"] == places["reload"] == places["stop"]
    shared = {line[0]: line[2:] for line in lines}
    assert shared["reload"] == shared["stop"] == shared["post"] == ["shared", "2"]
    assert [] == shared["condition"] == shared["pre"] == shared["stoppost"]
    assert "success" == units.desktop.property("many.service", "Result")


def test_stopping_is_heard_of_inside_and_never_takes_a_good_end_for_a_bad_one(units: Units) -> None:
    log = units.state / "ends"
    units.write(
        "ends.service",
        "[Service]\nExecStart=/bin/sleep 0.1\n"
        f"ExecStop=/bin/sh -c 'echo stop $MAINPID $SERVICE_RESULT >>{log}'\n"
        f"ExecStopPost=/bin/sh -c 'echo post $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >>{log}'\n",
    )
    units.write(
        "stopped.service",
        "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sh -c 'kill $MAINPID; sleep 1000'\n",
    )
    units.wrap("ends.service")
    units.wrap("stopped.service")
    units.desktop.systemctl("start", "stopped.service", "ends.service")
    units.desktop.systemctl("stop", "stopped.service")
    assert "success" == units.desktop.property("stopped.service", "Result")
    assert "success" == units.reaches("ends.service", "inactive")
    assert ["stop success", "post success exited 0"] == log.read_text().splitlines()


def test_a_connection_can_be_standard_input(units: Units) -> None:
    units.write("door.socket", f"[Socket]\nListenStream={units.state}/socket\nAccept=yes\n")
    units.write("door@.service", "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n")
    units.wrap("door@.service")
    units.desktop.systemctl("start", "door.socket")
    assert b"back" == units.ask("back")


def test_the_sandboxing_of_a_unit_is_replaced_by_the_boxs(units: Units) -> None:
    log = units.state / "ran"
    keys = [
        *REPLACED,
        "NoNewPrivileges",
        "MemoryDenyWriteExecute",
        "LockPersonality",
        "RestrictRealtime",
        "PrivateNetwork",
    ]
    special = {
        "ProtectProc": "invisible",
        "ProcSubset": "pid",
        "ReadOnlyPaths": "/",
        "ReadWritePaths": str(units.state),
    }
    known = [key for key in keys if not key.endswith("Directories") and key not in NEWER]
    hard = "".join(f"{key}={special.get(key, 'yes')}\n" for key in known)
    hard += "SystemCallArchitectures=native\nRestrictAddressFamilies=AF_UNIX AF_INET\n"
    units.write("hard.service", f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran >{log}'\n{hard}")
    units.wrap("hard.service")
    units.desktop.systemctl("start", "hard.service")
    assert "ran\n" == log.read_text()


@pytest.mark.parametrize("key", ["SystemCallFilter=@system-service", "RestrictSUIDSGID=yes"])
def test_what_stands_in_a_boxs_way_has_to_be_given_up_by_name(units: Units, key: str) -> None:
    log = units.state / "ran"
    units.write("hard.service", f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran >{log}'\n{key}\n")
    name = key.partition("=")[0]
    assert f"--without {name}" in units.sandbox("wrap", "hard.service", status=125)
    assert not (units.directory / "hard.service.d").exists()
    units.wrap("hard.service", "--without", name)
    units.desktop.systemctl("start", "hard.service")
    assert "ran\n" == log.read_text()


def test_what_was_wrapped_is_restored_to_the_byte(units: Units) -> None:
    units.write("plain.service", f"[Service]\nExecStart={units.command}\n")
    units.write("plain.service.d/override.conf", "[Service]\nEnvironment=A=1\n")
    before = _tree(units.desktop.home / ".config")
    start = units.desktop.systemctl("show", "plain.service", "-p", "ExecStart,KillMode,DropInPaths")
    units.wrap("plain.service")
    assert before != _tree(units.desktop.home / ".config")
    (listed,) = json.loads(units.sandbox("list", "--json"))["wrapped"]
    assert ("plain.service", "current", "strict") == (listed["name"], listed["state"], listed["policy"])
    assert any("A" in grant.split() for grant in listed["grants"])
    units.sandbox("unwrap", "plain.service")
    assert before == _tree(units.desktop.home / ".config")
    assert start == units.desktop.systemctl("show", "plain.service", "-p", "ExecStart,KillMode,DropInPaths")
    units.desktop.systemctl("start", "plain.service")
    assert units.started()["namespace"] == units.desktop.facts(1)["mnt"]


def test_what_was_started_before_it_was_wrapped_is_said_to_be_outside_until_it_is_restarted(
    units: Units,
) -> None:
    script = units.desktop.home / "web.py"
    script.write_text("import time\ntime.sleep(1000)\n")
    units.write("web.service", "[Service]\nExecStart=/usr/bin/python3 %h/web.py\n")
    units.write("many@.service", "[Service]\nExecStart=/bin/sleep 1000\n")
    units.desktop.systemctl("start", "web.service", "many@1.service")
    told = units.sandbox("wrap", "web.service", "--policy", "strict")
    assert "web.service will run in a box, under the policy strict." in told
    assert "It runs outside until then: systemctl --user restart web.service" in told
    assert """sandbox unit wrap web.service --set 'files.read=["~/web.py"]'""" in told
    assert "INVOCATION_ID" not in told
    told = units.sandbox("wrap", "many@")
    assert "no policy is for sleep" in told
    assert "It runs outside until then: systemctl --user restart many@1.service" in told
    found = {one["name"]: one for one in json.loads(units.sandbox("list", "--json"))["wrapped"]}
    assert {"many@.service": "outside", "web.service": "outside"} == {
        name: one["state"] for name, one in found.items()
    }
    assert "systemctl --user restart many@1.service" in found["many@.service"]["reasons"][0]
    assert "still outside" in units.sandbox("list")
    units.sandbox("check", status=1)
    told = units.sandbox("wrap", "web.service", "--set", 'files.read=["~/web.py"]')
    assert "not in the box" not in told
    units.desktop.systemctl("restart", "web.service", "many@1.service")
    units.desktop.until(
        lambda: any(map(units.desktop.in_a_box, units.desktop.processes("sleep"))),
        "the application in its box",
    )
    assert ["current", "current"] == [
        one["state"] for one in json.loads(units.sandbox("check", "--json"))["units"]
    ]


def test_a_unit_is_made_only_for_an_application_that_has_a_policy(units: Units) -> None:
    assert "no policy has this name" in units.sandbox("new", "nosuchapp", status=125)
    assert not list(units.directory.glob("sandbox-*"))
    told = units.sandbox("new", "firefox")
    assert "systemctl --user enable --now sandbox-firefox.service" in told


def test_install_makes_the_template_and_remove_leaves_nothing(units: Units) -> None:
    before = _tree(units.desktop.home)
    installed = [
        line.split()[1] for line in units.sandbox("install").splitlines() if line.startswith("installed")
    ]
    assert all((units.desktop.home / path.removeprefix("~/")).exists() for path in installed)
    assert len(installed) == 4
    assert "active" == units.desktop.property("sandboxer-scopes.socket", "ActiveState")
    units.desktop.run("sandbox", "list")
    policies = units.desktop.home / ".config/sandboxer/apps"
    policies.mkdir(parents=True)
    (policies / "sleeper-x.toml").write_text(
        'command = ["sleep"]\narguments = ["1000"]\nextends = ["base"]\n'
    )
    units.desktop.systemctl("start", "sandbox@sleeper-x")
    assert "app.slice" == units.desktop.property("sandbox@sleeper-x", "Slice")
    units.desktop.until(lambda: bool(units.desktop.processes("sleep")), "the application")
    assert units.desktop.in_a_box(units.desktop.processes("sleep")[0])
    units.desktop.systemctl("stop", "sandbox@sleeper-x")
    units.desktop.until(lambda: not units.desktop.processes("sleep"), "the application's end")
    shutil.rmtree(units.desktop.home / ".config/sandboxer")
    assert installed == [line.split()[1] for line in units.sandbox("remove").splitlines()]
    kept = {path: text for path, text in _tree(units.desktop.home).items() if ".config" in path.split("/")}
    assert {path: text for path, text in before.items() if ".config" in path.split("/")} == kept


def test_all_that_is_written_verifies(units: Units, request: pytest.FixtureRequest) -> None:
    notifying(units, "ExecStop=/bin/true\nPrivateTmp=yes\nRestrictNamespaces=yes\nWatchdogSec=9\n")
    units.wrap("told.service")
    units.sandbox("install")
    units.sandbox("new", "firefox")
    names = ["told.service", "sandbox@xterm.service", "sandbox-firefox.service"]
    names += ["sandboxer-scopes.service", "sandboxer-scopes.socket"]
    done = units.desktop.run("systemd-analyze", "--user", "--man=no", "verify", *names)
    ours = [line for line in done.stderr.splitlines() if "sandbox" in line or "told" in line]
    assert (0, []) == (done.returncode, ours), done.stderr


def test_commands_are_read_as_the_manager_reads_them(units: Units) -> None:
    lines = [
        r"-/bin/echo 'a b' \x41\101 \q \; c;d ; @/bin/cat called \"x \\\" y\" 'it'\''s' \u00e9 e\"f g\"h",
        r"/bin/echo $A ${B} $$C '' ;",
        "-@!/bin/echo a",
    ]
    text = "".join(f"ExecStart={line}\n" for line in lines)
    units.write("odd.service", f"[Service]\nType=oneshot\n{text}")
    path = units.desktop.run(
        "busctl", "--user", "--json=short", "call", MANAGER, "/org/freedesktop/systemd1", f"{MANAGER}.Manager",
        "LoadUnit", "s", "odd.service",
    )  # fmt: skip
    place = json.loads(path.stdout)["data"][0]
    words = (
        "busctl",
        "--user",
        "--json=short",
        "get-property",
        MANAGER,
        place,
        f"{MANAGER}.Service",
        "ExecStart",
    )
    theirs = [(item[0], item[1], item[2]) for item in json.loads(units.desktop.run(*words).stdout)["data"]]
    ours = [
        (
            command.program,
            values(command) if "@" in command.prefixes else [command.program, *values(command)],
            "-" in command.prefixes,
        )
        for line in lines
        for command in commands(line)
    ]
    assert theirs == ours


def values(command: Command) -> list[str]:
    """What its words mean."""
    return [word.value for word in command.words]


def test_the_manager_reads_the_drop_in_as_it_was_meant(units: Units) -> None:
    units.write(
        "odd.service",
        '[Service]\nExecStart=-:"/bin/echo" "%n" $NO \\x25 "two words" ; /bin/true\nType=oneshot\n',
    )
    units.wrap("odd.service")
    shown = units.desktop.systemctl("show", "odd.service", "-p", "ExecStart")
    assert 2 == shown.count("ignore_errors=")
    assert "-- /bin/echo odd.service $NO % two words ;" in shown.replace('"', "")


def _tree(top: Path) -> dict[str, str]:
    """Every file and directory beneath, with its content."""
    found: dict[str, str] = {}
    for path in sorted(top.rglob("*")) if top.exists() else ():
        is_file = path.is_file() and not path.is_symlink()
        found[str(path)] = path.read_text(errors="replace") if is_file else ""
    return found
