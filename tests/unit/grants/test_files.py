"""The user's files: what is granted, as what, and what is refused."""

from __future__ import annotations

import pytest
from fakes import Directory, Entry, FakeHost, Link, Node
from machines import RUNTIME, SOCKET, effective, machine

from sandboxer.errors import PolicyError, ResolveError
from sandboxer.grants.files import grants
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import FileType
from sandboxer.plan.ops import Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy.model import Advanced, Files, Policy
from sandboxer.resolve import resolve


def given(files: Files, host: FakeHost, *, dangerous: bool = False) -> list[Grant | Withheld]:
    policy = Policy(files=files, advanced=Advanced(let_application_change_what_runs_outside=dangerous))
    return list(grants(effective(policy), host))


def ops(files: Files, host: FakeHost, *, dangerous: bool = False) -> dict[str, Op]:
    found = given(files, host, dangerous=dangerous)
    return {str(op.box_path): op for grant in found if isinstance(grant, Grant) for op in grant.ops}


def test_a_private_home_is_writable_and_in_the_data_directory() -> None:
    home = ops(Files(home="private"), machine())["/home/ann"]
    assert (OpKind.BIND, "/home/ann/.local/share/sandboxer/homes/test") == (home.kind, home.source)
    assert OpFlag.WRITE in home.flags


def test_an_ephemeral_home_is_the_box_s_own() -> None:
    home = ops(Files(home="ephemeral"), machine())["/home/ann"]
    assert (OpKind.OWN, 0o700) == (home.kind, home.mode)


def test_the_real_home_is_read_only_and_a_hole() -> None:
    host = machine()
    assert OpFlag.WRITE not in ops(Files(home="host"), host)["/home/ann"].flags
    assert Weight.HOLE in {
        grant.weight for grant in given(Files(home="host"), host) if isinstance(grant, Grant)
    }


def test_a_small_system_file_is_copied_a_large_one_and_a_directory_are_bound() -> None:
    found = ops(Files(system=("/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/fonts")), machine())
    assert [OpKind.FILE, OpKind.BIND, OpKind.BIND] == [
        found[path].kind for path in ("/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/fonts")
    ]


def test_a_system_file_that_is_a_link_into_usr_stays_one() -> None:
    found = ops(Files(system=("/etc/os-release",)), machine())["/etc/os-release"]
    assert (OpKind.LINK, "../usr/lib/os-release") == (found.kind, found.source)


def test_a_device_is_not_granted_as_a_file_however_it_is_reached() -> None:
    host = machine({"/srv/disk": Node(type=FileType.BLOCK), "/srv/link": Link(target="/dev/null")})
    for path in ("/srv/disk", "/srv/link"):
        with pytest.raises(ResolveError, match="device"):
            ops(Files(read=(path,)), host)


def hole(files: Files, host: FakeHost) -> Grant:
    """What is said of the first file that is granted, which must be a hole."""
    (found,) = (
        one
        for one in given(files, host)
        if isinstance(one, Grant) and one.origin.key.startswith("files.") and one.weight is Weight.HOLE
    )
    return found


SESSION: dict[str, Entry] = {
    f"{RUNTIME}/bus": SOCKET,
    f"{RUNTIME}/systemd/private": SOCKET,
    f"{RUNTIME}/systemd/units/deep": Directory(),
    f"{RUNTIME}/dbus-1/services": Directory(),
    f"{RUNTIME}/gnupg/S.gpg-agent": SOCKET,
    f"{RUNTIME}/gnupg/d.x/S.ssh": SOCKET,
    f"{RUNTIME}/app/data": Directory(),
    "/srv/link": Link(target=RUNTIME),
    "/srv/deeper": Link(target=f"{RUNTIME}/systemd"),
    "/var/run": Link(target="/run"),
}


@pytest.mark.parametrize("key", ["read", "write", "system"])
@pytest.mark.parametrize(
    "path",
    [
        RUNTIME,
        "/run/user",
        "/run",
        "/",
        "/var/run/user/1000",
        "/srv/link",
        "/srv/deeper",
        f"{RUNTIME}/systemd",
        f"{RUNTIME}/systemd/units",
        f"{RUNTIME}/systemd/units/deep",
        f"{RUNTIME}/dbus-1",
        f"{RUNTIME}/*",
    ],
)
def test_where_the_session_is_controlled_is_shown_to_nobody(key: str, path: str) -> None:
    with pytest.raises(ResolveError, match="the session is controlled"):
        ops(Files(**{key: (path,)}), machine(SESSION), dangerous=True)  # type: ignore[arg-type] # any key


@pytest.mark.parametrize("variable", ["/srv/run", "/srv/link"])
def test_nor_where_the_session_says_that_it_is(variable: str) -> None:
    tree: dict[str, Entry] = {"/srv/run/bus": SOCKET, "/srv/link": Link(target="run")}
    for path in ("/srv/run", "/srv", RUNTIME):
        with pytest.raises(ResolveError, match="the session is controlled"):
            ops(Files(read=(path,)), machine(tree, {"XDG_RUNTIME_DIR": variable}))


def test_nor_by_a_home_or_a_working_directory_that_it_lies_in() -> None:
    inside = {"XDG_RUNTIME_DIR": "/home/ann/run"}
    with pytest.raises(ResolveError, match="the session is controlled"):
        ops(Files(home="host"), machine({"/home/ann/run/bus": SOCKET}, inside))
    host = machine(
        {"/srv/work/run/bus": SOCKET}, {"XDG_RUNTIME_DIR": "/srv/work/run"}, working_directory="/srv/work"
    )
    with pytest.raises(ResolveError, match="the session is controlled"):
        ops(Files(working_directory="read"), host)


def test_a_directory_in_it_is_a_hole_that_names_its_sockets() -> None:
    found = hole(Files(read=(f"{RUNTIME}/gnupg",)), machine(SESSION))
    assert f"can read {RUNTIME}/gnupg, and talk to what listens on sockets in it" == found.words
    assert "S.gpg-agent, d.x/S.ssh" == found.detail
    (quiet,) = (
        one
        for one in given(Files(read=(f"{RUNTIME}/app",)), machine(SESSION))
        if isinstance(one, Grant) and one.origin.key == "files.read"
    )
    assert Weight.ACCESS is quiet.weight


def test_so_is_every_directory_in_which_something_listens() -> None:
    tree: dict[str, Entry] = {f"/srv/x/s{number}": SOCKET for number in range(9)}
    assert "s0, s1, s2, s3, s4, s5 and 3 more" == hole(Files(write=("/srv/x",)), machine(tree)).detail
    assert "s0" in hole(Files(working_directory="read"), machine(tree, working_directory="/srv/x")).detail
    agent = hole(Files(home="host"), machine({"/home/ann/.ssh/agent": SOCKET})).detail
    assert agent.endswith("it can talk to what listens on .ssh/agent")
    cursor = hole(Files(read=("/srv/x",)), machine({"/srv/x/a\nb\x1b[2J": SOCKET})).detail
    assert r"'a\nb\x1b[2J'" == cursor


def test_a_socket_that_is_covered_is_not_named() -> None:
    host = machine({"/home/ann/.ssh/agent": SOCKET, "/home/ann/.cache/sandboxer/boxes/x.1/control": SOCKET})
    assert "listens" not in hole(Files(home="host", hide=("~/.ssh",)), host).detail


def test_a_socket_is_a_hole() -> None:
    found = given(Files(read=("/srv/socket",)), machine({"/srv/socket": SOCKET}))
    (grant,) = (one for one in found if isinstance(one, Grant) and "/srv/socket" in one.words)
    assert Weight.HOLE is grant.weight


@pytest.mark.parametrize(
    "path",
    [
        "~/.bashrc",
        "~/.ssh",
        "~/.config",
        "~/.local",
        "~/.local/share/sandboxer/homes/other",
        "~/.config/autostart/deep",
        "/home",
        "/etc",
    ],
)
def test_what_runs_outside_cannot_be_written(path: str) -> None:
    host = machine(
        {
            "/home/ann/.config/autostart/deep": Directory(),
            "/home/ann/.local/share/sandboxer/homes/other": Directory(),
        }
    )
    with pytest.raises(ResolveError, match="change what runs outside"):
        ops(Files(write=(path,)), host)


def test_what_runs_outside_can_be_written_when_the_policy_says_so_in_words() -> None:
    found = given(Files(write=("~/.config",)), machine(), dangerous=True)
    assert any(
        isinstance(one, Grant) and one.weight is Weight.HOLE and "run outside" in one.words for one in found
    )


def test_a_start_up_file_that_does_not_exist_yet_is_protected_too() -> None:
    host = machine(
        {"/home/ann/.config/fish": Link(target="../dotfiles/fish"), "/home/ann/dotfiles": Directory()}
    )
    with pytest.raises(ResolveError, match="change what runs outside"):
        ops(Files(write=("~/dotfiles",)), host)


def test_where_a_start_up_file_leads_is_protected_too() -> None:
    host = machine({"/home/ann/.bashrc": Link(target="dotfiles/bashrc"), "/home/ann/dotfiles/bashrc": ""})
    with pytest.raises(ResolveError, match="change what runs outside"):
        ops(Files(write=("~/dotfiles",)), host)


def test_a_writable_link_into_a_protected_place_is_seen_through() -> None:
    host = machine({"/home/ann/harmless": Link(target=".config"), "/home/ann/.config/autostart": Directory()})
    with pytest.raises(ResolveError, match="change what runs outside"):
        ops(Files(write=("~/harmless",)), host)


def test_a_link_in_a_writable_directory_is_not_followed() -> None:
    host = machine({"/home/ann/work/data": Link(target="/home/ann/.ssh")})
    with pytest.raises(ResolveError, match="could have made"):
        ops(Files(write=("~/work",), read=("~/work/data",)), host)


def test_a_link_in_the_private_home_is_not_followed() -> None:
    kept = "/home/ann/.local/share/sandboxer/homes/test"
    host = machine({f"{kept}/.local/share/fonts": Link(target="/home/ann/.ssh")})
    policy = Policy(files=Files(home="private", read=("~/.local/share/fonts",)))
    host.add("/usr/bin/test", "")
    with pytest.raises(ResolveError, match="could have made"):
        resolve(effective(policy), host)


def test_the_working_directory_is_granted_by_its_own_path() -> None:
    host = machine({"/home/ann/work": Directory()}, working_directory="/home/ann/work")
    assert OpFlag.WRITE in ops(Files(working_directory="write"), host)["/home/ann/work"].flags


@pytest.mark.parametrize("directory", ["/home/ann", "/home", "/tmp", "/var/tmp"])
def test_a_working_directory_with_far_more_than_work_in_it_is_refused(directory: str) -> None:
    with pytest.raises(ResolveError, match="refuses to share the directory"):
        ops(Files(working_directory="read"), machine(working_directory=directory))


def test_a_working_directory_of_the_system_is_not_shared() -> None:
    host = machine(working_directory="/usr/bin")
    assert "/usr/bin" not in ops(Files(working_directory="write"), host)


def test_a_working_directory_that_is_protected_cannot_be_written() -> None:
    host = machine({"/home/ann/.config/git": Directory()}, working_directory="/home/ann/.config/git")
    with pytest.raises(ResolveError, match="change what runs outside"):
        ops(Files(working_directory="write"), host)


def test_the_working_directory_is_not_asked_for_when_it_is_not_granted() -> None:
    class Strict(FakeHost):
        @property
        def working_directory(self) -> str:
            raise AssertionError

        @working_directory.setter
        def working_directory(self, value: str) -> None: ...

    assert ops(Files(), Strict())


def test_documents_that_can_be_written_can_also_be_read() -> None:
    flags = PlanFlag(0)
    for grant in given(Files(documents="write"), machine()):
        flags |= grant.flags if isinstance(grant, Grant) else PlanFlag(0)
    assert PlanFlag.DOCUMENTS_READ | PlanFlag.DOCUMENTS_WRITE == flags


@pytest.mark.parametrize(
    "path",
    ["~/.config/anything", "~/.unheard-of", "~/.local/share/new", "~/Projects/x/.git", "~/.cache/sandboxer"],
)
def test_what_is_hidden_in_the_home_is_not_writable(path: str) -> None:
    place = path.replace("~", "/home/ann")
    with pytest.raises(ResolveError, match="change what runs outside"):
        given(Files(write=(path,)), machine({place: Directory()}))
    assert given(Files(write=(path,)), machine({place: Directory()}), dangerous=True)
    assert given(Files(read=(path,)), machine({place: Directory()}))


def test_what_a_program_keeps_in_the_cache_is_writable() -> None:
    assert given(Files(write=("~/.cache/thumbnails",)), machine({"/home/ann/.cache/thumbnails": Directory()}))


def test_a_piece_of_work_is_shared_from_its_top() -> None:
    host = machine({"/home/ann/work/.git": Directory(), "/home/ann/work/src/deep": Directory()})
    host.working_directory = "/home/ann/work/src/deep"
    wanted = Files(working_directory="write", working_directory_top=".git")
    assert "/home/ann/work" in ops(wanted, host)
    host.working_directory = "/home/ann/Documents"
    assert "/home/ann/Documents" in ops(wanted, host)


def test_siblings_come_with_documents_and_are_told() -> None:
    for files, expected, words in (
        (Files(), False, "can read the files that you name on its command line"),
        (
            Files(siblings=True),
            True,
            "can read the files that you name on its command line, and all that lies beside them",
        ),
    ):
        (grant,) = (
            item
            for item in given(files, machine())
            if isinstance(item, Grant) and item.flags & PlanFlag.DOCUMENTS_READ
        )
        assert (expected, words) == (bool(grant.flags & PlanFlag.DOCUMENTS_SIBLINGS), grant.words)
    none = given(Files(siblings=True, documents="none"), machine())
    assert not any(isinstance(item, Grant) and item.flags for item in none)


def test_siblings_would_show_what_is_hidden_so_a_policy_has_one_of_them() -> None:
    with pytest.raises(PolicyError, match="whatever lies beside a document"):
        given(Files(siblings=True, hide=("~/.ssh",)), machine())
    assert given(Files(siblings=True, hide=("~/.ssh",), documents="none"), machine())
