"""A service's drop-in: each command boxed or refused, what it grants told, nothing left outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxer.desktop.units.files import Found
from sandboxer.desktop.units.specifiers import meanings
from sandboxer.desktop.units.text import Unit, settings
from sandboxer.desktop.units.wrap import Choice, Wrapped, recorded, wrap
from sandboxer.errors import ResolveError

LAUNCHER = "/opt/a b/sandbox"
FIRST = r"/opt/a\x20b/sandbox"
KEPT = "--set \"environment.keep=['INVOCATION_ID', 'SERVICE_RESULT', 'EXIT_CODE', 'EXIT_STATUS'{}]\""
KNOWN = meanings("a.service", "ann", 1000, "/home/ann", {"XDG_RUNTIME_DIR": "/run/user/1000"}, 252)

STRICT = Choice(policy="strict")


def wrapped(text: str, *drop_ins: tuple[str, str], choice: Choice = STRICT) -> Wrapped:
    found = Found(name="a.service", fragment=("/u/a.service", f"[Service]\n{text}"), drop_ins=drop_ins)
    return wrap(found, choice, KNOWN, LAUNCHER, shown=("/srv/shown",))


def unit(text: str, *drop_ins: tuple[str, str], choice: Choice = STRICT) -> Unit:
    return Unit(settings=tuple(settings(wrapped(text, *drop_ins, choice=choice).body, "")))


def lines(text: str, key: str = "ExecStart") -> list[str]:
    return [setting.value for setting in unit(text).values(key)]


def options(verb: str = "run", more: str = "") -> str:
    return f"{FIRST} {verb} --policy strict {KEPT.format(more)} --"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/bin/true a %i 'b $C'", f"{options()} /bin/true a %i 'b $C'"),
        ("-!/bin/true", f"-!{options()} /bin/true"),
        ("true x", f"{options()} /usr/bin/true x"),
        (
            "-@/bin/true called a",
            f'-{options()} /bin/bash -c \'exec -a "$$0" "$$@"\' called /bin/true a',
        ),
        (
            ":@/bin/true called a",
            f':{options()} /bin/bash -c \'exec -a "$0" "$@"\' called /bin/true a',
        ),
        ('"/usr/bin/$x%%" y', f"{options()} /usr/bin/$$x%% y"),
    ],
)
def test_a_command_is_started_by_the_launcher(line: str, expected: str) -> None:
    assert [expected] == lines(f"ExecStart={line}\n")


def test_the_units_own_command_is_reset_first() -> None:
    body = wrapped("ExecStart=/bin/true\n").body.splitlines()
    assert "ExecStart=" == body[body.index(f"ExecStart={options()} /bin/true") - 1]


@pytest.mark.parametrize(
    "line",
    [
        "/bin/kill -HUP $MAINPID",
        "-/usr/bin/kill ${MAINPID}",
        "/usr/bin/kill -s USR1 -- $MAINPID",
        "/bin/kill --signal=2 $MAINPID",
    ],
)
def test_a_signal_to_the_main_process_is_sent_from_outside(line: str) -> None:
    assert [line] == lines(f"ExecStart=/bin/true\nExecReload={line}\n", "ExecReload")


@pytest.mark.parametrize(
    "line",
    [
        "/bin/kill -HUP $MAINPID 1",
        "/bin/kill -HUP $OTHER",
        "/bin/kill -HUP -- -1",
        ":/bin/kill $MAINPID",
        "/home/ann/bin/kill $MAINPID",
        "kill -HUP $MAINPID",
        "@/bin/kill kill $MAINPID",
        "/bin/kill -q x $MAINPID",
        "/bin/sh -c 'kill $MAINPID'",
    ],
)
def test_any_other_command_is_run_in_the_box(line: str) -> None:
    (found,) = lines(f"ExecStart=/bin/true\nExecReload={line}\n", "ExecReload")
    assert " unit control --policy strict " in found


def test_the_main_processs_number_is_the_one_in_its_box() -> None:
    (found,) = lines(
        "ExecStart=/bin/true\nExecReload=/bin/x $MAINPID a${MAINPID} $${MAINPID} '$MAINPID b'\n", "ExecReload"
    )
    assert found.endswith(" -- /bin/x 2 a2 $${MAINPID} '$MAINPID b'")


def test_each_kind_of_command_has_its_box() -> None:
    keys = ("ExecCondition", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost")
    text = "ExecStart=/bin/true\n" + "".join(f"{key}=/bin/true {key}\n" for key in keys)
    verbs = {key: lines(text, key)[0].split(" --policy")[0].removeprefix(FIRST).strip() for key in keys}
    assert {
        "ExecCondition": "run",
        "ExecStartPre": "run",
        "ExecStartPost": "unit control",
        "ExecReload": "unit control",
        "ExecStop": "unit control --ends",
        "ExecStopPost": "run",
    } == verbs
    once = f"Type=oneshot\nRemainAfterExit=yes\n{text}"
    assert {"run"} == {lines(once, key)[0].split(" --policy")[0].removeprefix(FIRST).strip() for key in keys}


def test_commands_that_come_into_the_unit_later_have_no_effect() -> None:
    body = wrapped("ExecStart=/bin/true\n").body.splitlines()
    keys = (
        "ExecCondition",
        "ExecStartPre",
        "ExecStart",
        "ExecStartPost",
        "ExecReload",
        "ExecStop",
        "ExecStopPost",
    )
    assert {f"{key}=" for key in keys} <= set(body)
    assert 1 == sum(1 for line in body if line.startswith("Exec") and not line.endswith("="))


@pytest.mark.parametrize(
    "hidden",
    [
        "ExecStartPre=/bin/evil\nExecStartPre=\u00a0",
        "X=\0ExecStartPre=/bin/evil",
        "X=1\rExecStartPre=/bin/evil",
    ],
)
def test_a_command_that_only_systemd_would_see_is_seen(hidden: str) -> None:
    with pytest.raises(ResolveError):  # such a program isn't there; or it can't be understood
        wrapped(f"ExecStart=/bin/true\n{hidden.replace('/bin/evil', 'evil')}\n")


def test_variables_from_files_are_for_the_box_alone() -> None:
    text = (
        "ExecStart=/bin/true $A\nExecReload=:/bin/true\nEnvironmentFile=-%E/a b/env\nEnvironmentFile=/e$x\n"
    )
    made = wrapped(text)
    found = Unit(settings=tuple(settings(made.body, "")))
    assert "EnvironmentFile=" in made.body.splitlines()
    assert () == found.values("EnvironmentFile")
    assert found.value("ExecStart").endswith("--env-file '-%E/a b/env' --env-file /e$$x -- /bin/true $A")
    assert found.value("ExecReload").endswith("--env-file '-%E/a b/env' --env-file /e$x -- /bin/true")
    assert "knows the variables that %E/a b/env sets when it starts" in made.grants
    assert "EnvironmentFile=" in wrapped("ExecStart=/bin/true\n").body.splitlines(), "one may come later"


def test_no_program_runs_outside_with_variables_that_load_code() -> None:
    text = "ExecStart=/bin/true\nExecReload=/bin/kill -HUP $MAINPID\nEnvironment=LD_LIBRARY_PATH=%h/app\n"
    (found,) = lines(text, "ExecReload")
    assert found.startswith(f"{FIRST} unit control ")
    assert found.endswith(" -- /bin/kill -HUP 2")


def test_where_programs_are_looked_for_is_for_the_box_alone() -> None:
    text = "ExecSearchPath=%h/sw:/usr/bin\nExecStart=true\nExecReload=kill $MAINPID\n"
    body = wrapped(text).body
    assert "ExecSearchPath=" in body.splitlines()
    assert "--set \"environment.set.PATH='%h/sw:/usr/bin'\"" in body
    assert lines(text, "ExecReload")[0].endswith(" -- /usr/bin/kill 2")


def test_a_path_that_the_application_can_change_is_refused() -> None:
    text = "ExecStart=/bin/true\nStateDirectory=x\nEnvironment=PATH=%S/x/bin:/usr/bin\n"
    found = Found(name="a.service", fragment=("/u/a.service", f"[Service]\n{text}"), drop_ins=())
    with pytest.raises(ResolveError, match="sets PATH"):
        wrap(found, STRICT, KNOWN, LAUNCHER, shown=(), writable=())
    safe = Found(
        name="a.service", fragment=("/u/a", f"[Service]\n{text.replace('%S/x', '%S/y')}"), drop_ins=()
    )
    assert wrap(safe, STRICT, KNOWN, LAUNCHER, shown=(), writable=()).body
    with pytest.raises(ResolveError, match="sets PATH"):
        wrap(safe, STRICT, KNOWN, LAUNCHER, shown=())


@pytest.mark.parametrize("text", ["@/bin/true $FOO x", '@/bin/true "$FOO" x'])
def test_a_program_is_not_called_by_a_variable_that_may_be_several_words(text: str) -> None:
    with pytest.raises(ResolveError, match="by a name that isn't known"):
        wrapped(f"ExecStart={text}\n")
    for other in ("${FOO}", "$$FOO", "a$FOO"):
        assert other in lines(f"ExecStart=@/bin/true {other} x\n")[0]


@pytest.mark.parametrize("specifier", ["%I", "%J", "%P", "%f"])
def test_what_may_hold_a_quote_is_not_written_into_a_policy(specifier: str) -> None:
    with pytest.raises(ResolveError, match="into a policy"):
        wrapped(f"ExecStart=/bin/true\nCacheDirectory=x/{specifier}\n")
    assert "x/%i" in wrapped("ExecStart=/bin/true\nCacheDirectory=x/%i\n").body


def test_a_directory_of_configuration_is_its_own_by_its_name() -> None:
    assert "--set \"command=['a']\"" in lines("ExecStart=/bin/true\nConfigurationDirectory=a/b c\n")[0]
    assert "--set \"command=['true']\"" in lines("ExecStart=/bin/true\nStateDirectory=true\n")[0]
    assert "command=" not in lines("ExecStart=/bin/true\nCacheDirectory=a\nConfigurationDirectory=kitty\n")[0]


def test_several_commands_stay_several() -> None:
    found = lines("Type=oneshot\nExecStart=/bin/true a ; -/bin/false b\nExecStart=/bin/true c\n")
    assert [f"{options()} /bin/true a", f"-{options()} /bin/false b", f"{options()} /bin/true c"] == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Type=forking\nExecStart=/bin/true\n", "background"),
        ("Type=dbus\nBusName=a.b\nExecStart=/bin/true\n", "session bus"),
        ("BusName=a.b\nExecStart=/bin/true\n", "session bus"),
        ("Type=other\nExecStart=/bin/true\n", "type of service"),
        ("Environment=A=1\n", "starts nothing"),
        ("ExecStart=/bin/true\nExecLater=/bin/true\n", "outside its box"),
        ("ExecStart=/bin/true\nSystemCallFilter=@system-service\n", "--without SystemCallFilter"),
        (
            "ExecStart=/bin/true\nRestrictSUIDSGID=yes\nBindPaths=/a\n",
            "--without RestrictSUIDSGID --without BindPaths",
        ),
        ("ExecStart=/bin/true\nRestrictAddressFamilies=AF_INET\n", "RestrictAddressFamilies"),
        ("ExecStart=no-such-program\n", "isn't there"),
    ],
)
def test_what_no_box_can_hold_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ResolveError) as caught:
        wrapped(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ["dbus.service", "systemd-tmpfiles-setup.service"])
def test_what_the_session_stands_on_is_refused(name: str) -> None:
    found = Found(name=name, fragment=("/u/x", "[Service]\nExecStart=/bin/true\n"), drop_ins=())
    with pytest.raises(ResolveError, match="part of the session"):
        wrap(found, STRICT, KNOWN, LAUNCHER, shown=())


def test_a_drop_in_that_would_have_the_last_word_is_refused() -> None:
    with pytest.raises(ResolveError, match="last word"):
        wrapped(
            "ExecStart=/bin/true\n", ("/u/a.service.d/zzz.conf", "[Service]\nExecStart=\nExecStart=/bin/sh\n")
        )


def test_other_drop_ins_count() -> None:
    drop_in = ("/u/a.service.d/override.conf", "[Service]\nExecStart=\nExecStart=/bin/sh\n")
    assert [f"{options()} /bin/sh"] == [
        setting.value for setting in unit("ExecStart=/bin/true\n", drop_in).values("ExecStart")
    ]


def test_what_the_box_does_itself_is_taken_off_and_the_rest_stays() -> None:
    text = "ExecStart=/bin/true\nPrivateTmp=yes\nProtectSystem=strict\nRestrictNamespaces=~user\nNoNewPrivileges=yes\n"
    found = unit(
        f"{text}ProtectHome=no\nMemoryDenyWriteExecute=yes\nRestrictAddressFamilies=AF_UNIX AF_INET\n"
    )
    keys = [setting.key for setting in found.settings if setting.section == "Service"]
    assert ["KillMode", "RestrictNamespaces", "PrivateTmp", "ProtectSystem", "EnvironmentFile"] == keys[:5]
    assert ("no", "no", "no") == tuple(
        found.value(key) for key in ("PrivateTmp", "ProtectSystem", "RestrictNamespaces")
    )


def test_a_unit_without_network_stays_so() -> None:
    assert "--set network.access=none" in lines("ExecStart=/bin/true\nPrivateNetwork=yes\n")[0]


def test_what_is_given_up_is_reset() -> None:
    choice = Choice(policy="strict", without=("SystemCallFilter",))
    found = unit("ExecStart=/bin/true\nSystemCallFilter=@system-service\n", choice=choice)
    assert "" == found.value("SystemCallFilter")
    assert any(setting.key == "SystemCallFilter" for setting in found.settings)


def test_kill_mode_is_changed_only_where_the_application_would_be_told_twice() -> None:
    assert "mixed" == unit("ExecStart=/bin/true\n").value("KillMode")
    assert "" == unit("ExecStart=/bin/true\nKillMode=process\n").value("KillMode")


def test_what_the_unit_names_as_its_own_is_granted_and_told(tmp_path: Path) -> None:
    program = tmp_path / "p"
    program.write_text("")
    (tmp_path / "work").mkdir()
    made = wrapped(
        f"ExecStart={program}\nStateDirectory=x y:z\nRuntimeDirectory=r/%i\nWorkingDirectory={tmp_path}/work\n"
        "Environment=A=1\nSetCredential=c:d\nExitType=cgroup\n"
    )
    assert "files.own=['%t/r/%i', '%S/x', '%S/y']" in made.body
    assert f"files.read=['{program}', '?%t/credentials/%n']" in made.body
    assert "files.working-directory=read" in made.body
    assert "lingers=true" in made.body
    for name in ("A", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        assert f"'{name}'" in made.body
    comments = [line for line in made.body.splitlines() if line.startswith("#   ")]
    assert [f"#   {grant}" for grant in made.grants] == comments
    assert any("%S/x" in grant for grant in made.grants)


def test_what_systemd_sets_for_every_service_is_not_worth_a_word() -> None:
    assert () == wrapped("ExecStart=/bin/true\n").grants
    assert ("knows the variables A",) == wrapped("ExecStart=/bin/true\nEnvironment=A=1\n").grants


def test_files_that_a_command_names_and_the_box_does_not_have_are_told(tmp_path: Path) -> None:
    for name in ("a.py", "site/x", "own/y", "work/z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    known = meanings("a.service", "ann", 1000, str(tmp_path), {}, 252)
    text = (
        "[Service]\nExecStart=/usr/bin/python3 %h/a.py 1 --site=%h/site ${HOME}/a.py /usr/bin/env %h/own/y %h/gone\n"
        f"ExecStart={tmp_path}/a.py\nExecReload=/bin/kill $MAINPID\nWorkingDirectory=%h/work\n"
        "ExecStopPost=/bin/cat %h/work/z /etc/passwd\n"
    )
    found = Found(name="a.service", fragment=("/u/a.service", text), drop_ins=())
    shown = (str(tmp_path / "own"),)
    made = wrap(found, STRICT, known, LAUNCHER, shown=shown)
    assert (f"{tmp_path}/site",) == made.missed, "the script is granted, since a command starts it"
    other = Found(
        name="a.service", fragment=("/u/a", text.replace(f"ExecStart={tmp_path}/a.py\n", "")), drop_ins=()
    )
    expected = (f"{tmp_path}/a.py", f"{tmp_path}/site")
    assert expected == wrap(other, STRICT, known, LAUNCHER, shown=shown).missed
    assert expected == wrap(other, STRICT, known, LAUNCHER, shown=("/", *shown)).missed


@pytest.mark.parametrize("directory", ["/", "%h", "/home", "~", "-/no/such/place", "%S/x", "/srv/shown/x"])
def test_no_home_and_nothing_granted_already_becomes_a_working_directory(directory: str) -> None:
    text = f"ExecStart=/bin/true\nStateDirectory=x\nWorkingDirectory={directory}\n"
    assert "working-directory" not in lines(text)[0]


def test_the_users_settings_come_last_and_mean_what_they_say() -> None:
    choice = Choice(policy="/p/x y.toml", settings=('files.read=["~/100%$x"]',))
    (found,) = unit("ExecStart=/bin/true\n", choice=choice).values("ExecStart")
    assert found.value.endswith("""--set 'files.read=["~/100%%$$x"]' -- /bin/true""")
    assert "--policy '/p/x y.toml'" in found.value


def test_what_a_drop_in_was_made_from_can_be_read_back() -> None:
    choice = Choice(policy="strict", settings=('a="b\\\\c"', "x=1"), without=("BindPaths",))
    made = wrapped("ExecStart=/bin/true\nEnvironment=A=1\n", ("/d.conf", "[Service]\n"), choice=choice)
    again, sources = recorded(made.body)
    assert choice == again
    assert ["/u/a.service", "/d.conf"] == list(sources)
