"""`sandbox check`: all errors of all files, and warnings that are worth reading."""

from __future__ import annotations

import json

import machines
import pytest
from fakes import FakeHost

from sandboxer.cli.check import check, facts, of_the_users_own, page, strays
from sandboxer.cli.lint import ERROR, WARNING, Finding
from sandboxer.cli.output import plain
from sandboxer.cli.sources import file_source, layer_sources, named_sources
from sandboxer.errors import UsageError

OWN = "/home/ann/.config/sandboxer"
SHOWN = "~/.config/sandboxer"


def findings(host: FakeHost, *files: str) -> list[Finding]:
    host.working_directory = "/"  # as in survey.Anywhere: what is checked isn't one start
    return check([file_source(file, host) for file in files] or layer_sources(host), host)


def said(
    text: str, *, host: FakeHost | None = None, name: str = "apps/foo.toml"
) -> list[tuple[str, int, str]]:
    """What is found in a policy of the user's: (level, line, what)."""
    host = host or machines.x11({"/home/ann/Downloads/x": ""})
    host.add(f"{OWN}/{name}", text)
    return [(finding.level, finding.line, finding.what) for finding in findings(host, f"{OWN}/{name}")]


def test_the_shipped_policies_have_nothing_amiss() -> None:
    for session in (machines.x11, machines.wayland, machines.machine):
        assert [] == findings(session())
        assert "nothing amiss" in plain(page(layer_sources(session()), []))


def test_it_goes_on_after_the_first_error() -> None:
    found = said('sumary = "x"\n\n[files]\nhome = "privat"\nread = [7]\n')
    assert [(ERROR, 1), (ERROR, 4), (ERROR, 5)] == [(level, line) for level, line, _ in found]


def test_an_error_in_a_set_is_told_once_however_many_extend_it() -> None:
    host = machines.x11()
    host.add(f"{OWN}/sets/base.toml", "[look]\nfnts = true\n")
    assert [(f"{SHOWN}/sets/base.toml", 2)] == [(one.file, one.line) for one in findings(host)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('extends = ["nope"]', "a policy extends a set that doesn't exist"),
        ('extends = ["gui"]\n[files]\nwrite = ["!~/x"]', "a policy takes away what no earlier layer grants"),
        ('[syscalls]\ndeny = ["@nope"]', "a policy names a group of system calls that doesn't exist"),
        ('[files]\nread = ["~/absent"]', "cannot grant a path that isn't there"),
        ('[files]\nwrite = ["~/.bashrc"]', "refuses to let the application change what runs outside the box"),
        ('[files]\nread = ["~/Downloads"]\nhide = ["~/Downloads"]', "a policy grants what it hides"),
    ],
)
def test_what_shows_only_when_the_policy_is_merged_and_resolved_is_an_error(text: str, what: str) -> None:
    assert (ERROR, what) in [(level, said_what) for level, _, said_what in said(text)]


def test_a_display_that_is_not_there_is_no_fault_of_the_policy() -> None:
    found = said('extends = ["gui"]', host=machines.machine())
    assert [(WARNING, "there is no display for the application")] == [
        (level, what) for level, _, what in found
    ]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('[files]\nread = [\n"~/Downloads",\n"~/Downloads",\n]', 4, "an item stands twice"),
        ('extends = ["gui"]\n[files]\nsystem = ["?/etc/fonts"]', 3, "an item is there already"),
        ('[files]\nread = ["?~/absent"]', 2, "this grants nothing here"),
        ('[files]\nhide = ["~/Downloads"]', 2, "this hides what nothing shows"),
        ('[files]\nread = ["~/.ssh"]', 2, "this lets it read what should be yours alone"),
        ('[files]\nread = ["~/.ssh/id_ed25519"]', 2, "this lets it read what should be yours alone"),
        ('[files]\nread = ["~/Downloads"]\nwrite = ["~/Downloads"]', 2, "this is granted already"),
        ("[advanced]\nnested = true", 2, "this opens a hole: may make namespaces for a sandbox of its own"),
        ('[environment]\nkeep = ["GH_TOKEN"]', 2, "this opens a hole: knows your GH_TOKEN"),
        ('[broker]\nread = ["~/.ssh"]', 2, "this lets it read what should be yours alone"),
        ('[broker]\nread = ["?~/absent"]', 2, "this grants nothing here"),
        ('[files]\nread = ["~/Downloads"]\n[broker]\nlist = ["~/Downloads"]', 4, "this is granted already"),
        ('[files]\nwrite = ["~/Downloads"]\n[broker]\nmkdir = ["Downloads"]', 4, "this is granted already"),
        ('[broker]\nread = [\n"~/Downloads/x",\n"~/Downloads"]', 3, "this is granted already"),
        ('[broker]\ncreate = ["~/Downloads"]', 2, "a file that is made must be opened to be written"),
        ('[broker]\nssh-agent-keys = ["me"]', 2, "no SSH agent is given, so its keys are named for nothing"),
        ("[broker]\ndescriptor = true", 2, "there is nothing to ask for, and so no broker"),
        (
            '[files]\nsiblings = true\ndocuments = "none"',
            2,
            "nothing is handed in, so there is nothing beside it",
        ),
        (
            '[broker]\nlinks = ["https"]',
            2,
            "this opens a hole: can send out what it reads, in https links that your own program opens outside",
        ),
    ],
)
def test_what_is_allowed_and_doubtful_is_a_warning_with_its_line(text: str, line: int, what: str) -> None:
    assert (WARNING, line, what) in said(text)


@pytest.mark.parametrize(
    "text",
    [
        '[broker]\nread = ["~/Downloads"]\nwrite = ["~/Downloads"]\ncreate = ["~/Downloads"]',
        '[files]\nread = ["~/Downloads"]\n[broker]\nappend = ["~/Downloads"]\ncreate = ["~/Downloads"]',
        '[broker]\nread = ["~/Downloads"]\ndescriptor = true',
        'extends = ["gui", "network", "links"]',
    ],
)
def test_rules_that_complete_one_another_are_not_doubtful(text: str) -> None:
    host = machines.wayland({"/home/ann/Downloads/x": ""})
    assert not any("granted already" in what or "must be opened" in what for _, _, what in said(text, host=host))
    assert not any("nothing to ask" in what or "links" in what for _, _, what in said(text, host=host))


def test_x11_and_the_network_together_are_worse_than_each() -> None:
    found = said('[display]\nx11 = true\n[network]\naccess = "host"')
    assert any("send away what is typed" in what for _, _, what in found)
    assert not any("send away" in what for _, _, what in said("[display]\nx11 = true"))


def test_a_policy_with_nothing_doubtful_has_no_warnings() -> None:
    assert [] == said(
        'extends = ["gui"]\nsummary = "Foo"\n[files]\nwrite = ["Downloads"]', host=machines.wayland()
    )


def test_a_drop_in_belongs_to_its_application() -> None:
    assert [] == said('[files]\nwrite = ["!?Downloads"]', name="apps/firefox.d/10-no-downloads.toml")


def test_what_is_shipped_is_not_advised_against() -> None:
    host = machines.x11()
    host.add(f"{OWN}/apps/firefox.toml", "lingers = true")
    assert [] == findings(host)


def test_a_file_outside_all_layers_can_be_checked() -> None:
    host = machines.x11({"/home/ann/new.toml": '[files]\nread = ["?~/absent"]\n'})
    (finding,) = findings(host, "/home/ann/new.toml")
    assert ("/home/ann/new.toml", 2, WARNING) == (finding.file, finding.line, finding.level)


def test_a_file_that_is_not_there_is_an_error() -> None:
    (finding,) = findings(machines.x11(), "/home/ann/absent.toml")
    assert (ERROR, "no such file") == (finding.level, finding.subject)


def test_a_group_of_system_calls_is_checked_as_one() -> None:
    (finding,) = said("summary = 'x'\n", name="deny/own.toml")
    assert (ERROR, "a group of system calls can't be understood") == (finding[0], finding[2])


def test_a_policy_that_others_can_write_is_an_error() -> None:
    host = machines.x11()
    host.add(f"{OWN}/apps/foo.toml", "")
    host.owners[f"{OWN}/apps/foo.toml"] = (0o666, 1000, 1000)
    (finding,) = findings(host)
    assert "somebody else could have written it" in finding.what


def test_a_file_that_nothing_reads_is_pointed_at() -> None:
    host = machines.x11({f"{OWN}/foo.toml": "", f"{OWN}/apps/bar.tml": "", f"{OWN}/apps/good.toml": ""})
    assert [f"{SHOWN}/foo.toml", f"{SHOWN}/apps/bar.tml"] == [finding.file for finding in strays(host)]


def test_the_page_reads_like_a_compilers() -> None:
    host = machines.x11({f"{OWN}/apps/foo.toml": "[files]\nraed = []\n"})
    sources = [file_source(f"{OWN}/apps/foo.toml", host)]
    lines = plain(page(sources, check(sources, host))).splitlines()
    assert lines[0].startswith(f"{SHOWN}/apps/foo.toml:2: error: a policy has an unknown key")
    assert "    try: write files.read" == lines[2] or "    try: write read" == lines[2]
    assert "1 file: 1 error, 0 warnings" == lines[-1]


def test_machines_get_the_same() -> None:
    host = machines.x11({f"{OWN}/apps/foo.toml": "[files]\nraed = []\n"})
    sources = [file_source(f"{OWN}/apps/foo.toml", host)]
    values = json.loads(json.dumps(facts(sources, check(sources, host))))
    assert (1, 0) == (values["errors"], values["warnings"])
    assert {"file": f"{SHOWN}/apps/foo.toml", "line": 2, "key": "files.raed"} == values["findings"][0][
        "origin"
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[syscalls]\ndeny = ["ptracee"]', "a policy refuses a system call that doesn't exist"),
        ('[files]\nread = ["/home"]', "cannot grant a directory in which each box has things of its own"),
        ("[sound]\nplayback = true", "cannot grant playing without recording"),
    ],
)
def test_what_a_start_would_always_refuse_is_an_error(text: str, what: str) -> None:
    for host in (machines.wayland(), machines.machine()):
        assert [what] == [told for level, _, told in said(text, host=host) if level == ERROR and what in told]


def test_several_items_that_can_not_be_granted_are_all_told() -> None:
    found = said('[files]\nread = ["~/one", "~/two"]\nwrite = ["~/.bashrc"]\n[syscalls]\ndeny = ["@a", "@b"]')
    assert [2, 2, 3, 5, 5] == sorted(line for level, line, _ in found if level == ERROR)


def test_a_command_of_which_nothing_is_installed_is_a_warning() -> None:
    assert [(WARNING, 1, "foo isn't installed")] == said('command = ["nosuch", "either"]')
    assert [] == said('command = ["nosuch", "bash"]')


def test_secrets_that_are_not_there_are_no_reason_to_warn() -> None:
    told = [line for _, line, what in said('[files]\nread = ["/home"]') if "yours alone" in what]
    assert [] == told  # ~/.ssh is under the empty home


def test_all_that_can_be_told_of_a_file_is_told_at_once() -> None:
    text = 'extends = ["guy", "bse", "gui"]\nsumary = "x"\n[files]\nwrite = ["~/.bashrc"]\nraed = []\n'
    text += '[syscalls]\ndeny = ["@monut", "@nope", "ptracee"]\n'
    told = [(line, what) for level, line, what in said(text) if level == ERROR]
    assert [1, 1, 2, 4, 5, 7, 7, 7] == sorted(line for line, _ in told)
    assert (4, "refuses to let the application change what runs outside the box") in told


def test_each_unknown_name_is_told_once_with_the_nearest() -> None:
    host = machines.x11({f"{OWN}/apps/foo.toml": 'extends = ["guy", "bse"]\n'})
    found = findings(host)
    assert ['write "base"', 'write "gui"'] == sorted(one.hint for one in found)


def test_an_application_can_be_checked_by_its_name() -> None:
    host = machines.x11(
        {f"{OWN}/apps/foo.toml": "", f"{OWN}/apps/foo.d/10.toml": "", f"{OWN}/apps/other.toml": ""}
    )
    names = [source.shown for source in named_sources("foo", "/home/ann", host)]
    assert {f"{SHOWN}/apps/foo.toml", f"{SHOWN}/apps/foo.d/10.toml"} == set(names)
    assert ["apps/firefox.toml"] == [source.shown for source in named_sources("firefox", "/home/ann", host)]


def test_a_name_that_nothing_has_is_led_to_the_nearest() -> None:
    with pytest.raises(UsageError, match="nothing of that name") as caught:
        named_sources("firefx", "/home/ann", machines.x11())
    assert "sandbox check firefox" == caught.value.hint


def test_a_file_that_can_not_be_trusted_is_named_as_the_users_own() -> None:
    host = machines.x11({f"{OWN}/apps/foo.toml": ""})
    host.owners[f"{OWN}/apps/foo.toml"] = (0o666, 1000, 1000)
    assert [f"{SHOWN}/apps/foo.toml"] == [one.file for one in findings(host)]


def test_a_directory_in_a_files_place_is_one_error() -> None:
    host = machines.x11({f"{OWN}/apps/foo.toml/inner": ""})
    assert [(f"{SHOWN}/apps/foo.toml", ERROR)] == [(one.file, one.level) for one in findings(host)]


def test_a_machine_without_a_display_is_no_reason_to_warn_about_a_policy() -> None:
    host = machines.machine({f"{OWN}/apps/foo.toml": 'extends = ["gui"]\nlingers = true\n'})
    assert [] == of_the_users_own(layer_sources(host), findings(host))
