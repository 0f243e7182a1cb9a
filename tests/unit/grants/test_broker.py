"""What may be asked for while it runs: rules for the broker, what leads to it, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from fakes import Directory, Entry, FakeHost, Link, Node
from machines import RUNTIME, SOCKET, effective, machine

from sandboxer.broker import rules
from sandboxer.broker.rules import Rule
from sandboxer.errors import ResolveError
from sandboxer.grants.grant import Weight
from sandboxer.host.installation import broker_client
from sandboxer.host.view import FileType
from sandboxer.plan.ops import EnvKind, Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy.model import Advanced, Broker, Files, Policy
from sandboxer.resolve import Resolved, resolve
from sandboxer.words import changed

PAPERS: dict[str, Entry] = {
    "/home/ann/Documents/taxes/2024.ods": "",
    "/home/ann/Documents/letter.txt": "",
    "/home/ann/notes": "",
}
NOTHING = Files()
ORIGIN = "apps/test.toml:7"


def host_with(tree: Mapping[str, Entry] = {}, *, landlock_abi: int = 7, **variables: str) -> FakeHost:
    return machine({**PAPERS, **tree}, variables, landlock_abi=landlock_abi)


def resolved(
    broker: Broker, host: FakeHost | None = None, *, files: Files = NOTHING, dangerous: bool = False
) -> Resolved:
    policy = Policy(
        broker=broker, files=files, advanced=Advanced(let_application_change_what_runs_outside=dangerous)
    )
    return resolve(effective(policy), host or host_with(), command_given=True)


def granting(paths: tuple[str, ...], *keys: str) -> Broker:
    """The same paths under each of some keys."""
    return changed(Broker(), **dict.fromkeys(keys, paths))


def told(broker: Broker, host: FakeHost | None = None, *, files: Files = NOTHING) -> list[str]:
    return [grant.words for grant in resolved(broker, host, files=files).grants if grant.topic == "broker"]


def path_rules(broker: Broker, host: FakeHost | None = None, *, files: Files = NOTHING) -> tuple[Rule, ...]:
    found = resolved(broker, host, files=files).broker
    assert found is not None
    return found.paths


def ops(found: Resolved) -> dict[str, Op]:
    return {str(op.box_path): op for grant in found.grants for op in grant.ops}


def variables(found: Resolved) -> dict[str, str]:
    return {
        entry.name: entry.value
        for grant in found.grants
        for entry in grant.environment
        if entry.kind is EnvKind.SET
    }


def test_without_anything_to_ask_for_there_is_no_broker_and_no_way_to_one() -> None:
    found = resolved(Broker(descriptor=True, ssh_agent_keys=("me@laptop",)))
    assert found.broker is None
    assert not any(op.kind is OpKind.LISTEN or "/run/sandboxer" in path for path, op in ops(found).items())
    assert PlanFlag.BROKER_DESCRIPTOR not in found.flags
    assert "/run/sandboxer" not in variables(found)["PATH"]
    assert "SANDBOXER_BROKER" not in variables(found)
    words = "can't ask for more while it runs, nor have links opened outside"
    assert words in [item.words for item in found.withheld]


def test_the_way_to_a_broker_is_a_socket_a_program_and_two_variables() -> None:
    found = resolved(Broker(read=("~/notes",)))
    listen = ops(found)["/run/sandboxer/broker"]
    assert (OpKind.LISTEN, "broker", 0o600, OpFlag(0)) == (
        listen.kind,
        listen.source,
        listen.mode,
        listen.flags,
    )
    client = ops(found)["/run/sandboxer/bin/sandbox-broker"]
    assert (OpKind.BIND, broker_client(), OpFlag(0)) == (client.kind, client.source, client.flags)
    assert variables(found)["PATH"].startswith("/run/sandboxer/bin:/usr/local/bin:")
    assert "/run/sandboxer/broker" == variables(found)["SANDBOXER_BROKER"]


def test_the_policy_s_own_path_holds_over_the_broker_s() -> None:
    policy = Policy(broker=Broker(read=("~/notes",)))
    chosen = changed(policy, environment=changed(policy.environment, set={"PATH": "/opt/bin"}))
    assert "/opt/bin" == variables(resolve(effective(chosen), host_with(), command_given=True))["PATH"]


def test_a_descriptor_is_a_flag_and_a_variable() -> None:
    found = resolved(Broker(read=("~/notes",), descriptor=True))
    assert PlanFlag.BROKER_DESCRIPTOR in found.flags
    assert "99" == variables(found)["SANDBOXER_BROKER_FD"]


def test_a_client_that_is_not_installed_is_an_error() -> None:
    host = host_with()
    del host.tree[broker_client()]
    with pytest.raises(ResolveError, match="program that asks the broker"):
        resolved(Broker(read=("~/notes",)), host)


def test_a_directory_stands_for_all_beneath_it_and_a_file_for_itself() -> None:
    directory, file = path_rules(Broker(read=("~/Documents", "~/notes")))
    assert ("/home/ann/Documents", "/home/ann/Documents", "", True) == (
        directory.path,
        directory.root,
        directory.name,
        directory.follow,
    )
    assert ("/home/ann/notes", "/home/ann", "notes", False) == (file.path, file.root, file.name, file.follow)
    assert rules.KEYS["read"] == directory.rights == file.rights


def test_every_key_is_a_rule_of_its_own_with_the_line_that_asked() -> None:
    every = granting(("~/Documents",), *rules.KEYS)
    assert [(rights, f"{ORIGIN} broker.{key}") for key, rights in rules.KEYS.items()] == [
        (rule.rights, rule.origin) for rule in path_rules(every)
    ]


def test_a_linked_path_goes_by_both_names_and_opens_the_real_one() -> None:
    host = host_with({"/srv/papers": Directory(), "/home/ann/work": Link(target="/srv/papers")})
    assert [("/home/ann/work", "/srv/papers"), ("/srv/papers", "/srv/papers")] == [
        (rule.path, rule.root) for rule in path_rules(Broker(list=("~/work",)), host)
    ]


def test_a_path_that_may_be_missing_gives_nothing_and_makes_no_broker() -> None:
    assert resolved(Broker(read=("?~/absent",))).broker is None
    with pytest.raises(ResolveError, match="isn't there"):
        resolved(Broker(read=("~/absent",)))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("read", "may ask for files in ~/Documents to read, one at a time"),
        ("write", "may ask for files in ~/Documents to change, one at a time"),
        ("create", "may make files in ~/Documents, one at a time"),
        ("unlink", "may remove what is in ~/Documents"),
    ],
)
def test_a_rule_is_told_in_plain_words(key: str, words: str) -> None:
    assert words in told(granting(("~/Documents",), key))


@pytest.mark.parametrize("key", ["create", "list", "mkdir", "rename", "unlink"])
def test_what_is_about_a_directory_s_content_is_not_granted_on_a_file(key: str) -> None:
    with pytest.raises(ResolveError, match="what a directory holds") as caught:
        resolved(granting(("~/notes",), key))
    assert '"/home/ann"' in caught.value.hint


@pytest.mark.parametrize("kind", [FileType.SOCKET, FileType.FIFO, FileType.CHARACTER, FileType.BLOCK])
def test_only_files_and_directories_are_granted(kind: FileType) -> None:
    with pytest.raises(ResolveError, match="regular files alone"):
        resolved(Broker(read=("/srv/thing",)), host_with({"/srv/thing": Node(type=kind)}))


def test_a_link_into_proc_is_not_granted() -> None:
    host = host_with({"/proc/1/mem": "", "/srv/link": Link(target="/proc/1/mem")})
    with pytest.raises(ResolveError, match="regular files alone"):
        resolved(Broker(read=("/srv/link",)), host)


@pytest.mark.parametrize("key", ["write", "append", "create", "mkdir", "rename", "unlink"])
@pytest.mark.parametrize("path", ["~/.config", "/home", "/run/user/1000", "/srv/cache"])
def test_what_runs_outside_is_not_changed_through_the_broker_either(key: str, path: str) -> None:
    host = host_with(
        {"/srv/cache/x": "", "/home/ann/.config/autostart": Directory()}, XDG_CACHE_HOME="/srv/cache"
    )
    with pytest.raises(ResolveError, match="change what runs outside") as caught:
        resolved(granting((path,), key), host)
    assert caught.value.origin is not None
    assert f"broker.{key}" == caught.value.origin.key


def test_a_policy_that_says_so_may_change_it() -> None:
    assert resolved(Broker(write=("~/.config",)), dangerous=True).broker is not None


def test_the_log_lies_in_the_state_directory_and_nothing_may_write_it() -> None:
    found = resolved(Broker(read=("~/notes",)))
    assert found.broker is not None
    assert "/home/ann/.local/state/sandboxer/broker" == found.broker.log
    assert "test" == found.broker.app
    host = host_with({"/srv/state": Directory()}, XDG_STATE_HOME="/srv/state")
    moved = resolved(Broker(read=("~/notes",)), host).broker
    assert moved is not None
    assert "/srv/state/sandboxer/broker" == moved.log
    for broker, files in ((Broker(write=("/srv/state",)), Files()), (Broker(), Files(write=("/srv/state",)))):
        with pytest.raises(ResolveError, match="change what runs outside"):
            resolved(broker, host, files=files)


def test_hidden_things_are_kept_from_the_broker_and_its_links_are_not_followed() -> None:
    files = Files(hide=("~/Documents/taxes",))
    found = resolved(Broker(read=("~/Documents", "~/notes")), files=files)
    assert found.broker is not None
    assert ("/home/ann/Documents/taxes",) == found.broker.hidden
    assert [False, False] == [rule.follow for rule in found.broker.paths]
    assert "~/Documents/taxes is kept from the broker" in [grant.words for grant in found.grants]
    assert not any("is hidden, and nothing shows it" in item.words for item in found.withheld)


def test_a_hidden_thing_that_is_mounted_as_well_is_covered_and_kept_back() -> None:
    files = Files(read=("~/Documents",), hide=("~/Documents/taxes",))
    found = resolved(Broker(write=("~/Documents",)), files=files)
    assert found.broker is not None
    assert OpKind.HIDE is ops(found)["/home/ann/Documents/taxes"].kind
    assert ("/home/ann/Documents/taxes",) == found.broker.hidden


def test_what_is_hidden_can_not_be_granted_through_the_broker() -> None:
    with pytest.raises(ResolveError, match="grants what it hides") as caught:
        resolved(Broker(read=("~/Documents/taxes",)), files=Files(hide=("~/Documents",)))
    assert "broker.read" in caught.value.subject


def test_places_of_ours_are_kept_from_the_broker() -> None:
    host = host_with({"/home/ann/.cache/sandboxer/plans": Directory()})
    found = resolved(Broker(read=("~/.cache",)), host).broker
    assert found is not None
    assert ("/home/ann/.cache/sandboxer",) == found.hidden
    assert not found.paths[0].follow
    with pytest.raises(ResolveError, match="what boxes are controlled by"):
        resolved(Broker(read=("~/.cache/sandboxer/plans",)), host)


def test_places_of_ours_are_covered_where_a_mount_would_show_them() -> None:
    tree: dict[str, Entry] = {
        f"{RUNTIME}/sandboxer/boxes/x.1/control": SOCKET,
        "/home/ann/.cache/sandboxer": Directory(),
    }
    for files, cover in (
        (Files(home="host"), "/home/ann/.cache/sandboxer"),
        (Files(read=("~/.cache",)), "/home/ann/.cache/sandboxer"),
    ):
        assert OpKind.HIDE is ops(resolved(Broker(), host_with(tree), files=files))[cover].kind
    with pytest.raises(ResolveError, match="what boxes are controlled by"):
        resolved(Broker(), host_with(tree), files=Files(read=(f"{RUNTIME}/sandboxer/boxes/x.1/control",)))


PLANTED = host_with({"/srv/box/link": Link(target="/home/ann/Documents")})


@pytest.mark.parametrize(
    ("broker", "files"),
    [
        (Broker(read=("/srv/box/link",)), Files(write=("/srv/box",))),
        (Broker(read=("/srv/box/link",), rename=("/srv/box",)), Files()),
        (Broker(rename=("/srv/box",)), Files(read=("/srv/box/link",))),
    ],
)
def test_a_link_that_the_application_could_have_made_or_moved_is_not_followed(
    broker: Broker, files: Files
) -> None:
    with pytest.raises(ResolveError, match="the application could have made"):
        resolved(broker, PLANTED, files=files)


def test_a_link_where_it_can_only_write_files_is_the_user_s() -> None:
    assert path_rules(Broker(read=("/srv/box/link",), write=("/srv/box",)), PLANTED)


@pytest.mark.parametrize("abi", [0, 1, 2])
def test_rules_on_paths_need_landlock_that_covers_them(abi: int) -> None:
    with pytest.raises(ResolveError, match="confine a broker") as caught:
        resolved(Broker(read=("~/notes",)), host_with(landlock_abi=abi))
    assert "Linux 6.2" in caught.value.hint


def test_what_the_broker_may_give_is_no_hole_unless_it_is_a_secret() -> None:
    weights = {grant.weight for grant in resolved(Broker(read=("~/notes",))).grants if grant.brokered}
    assert {Weight.ACCESS} == weights


def test_with_a_broker_only_links_are_told_as_absent() -> None:
    withheld = [item.words for item in resolved(Broker(read=("~/notes",))).withheld]
    assert "can't have links or files opened outside" in withheld


def test_rules_survive_their_way_into_the_plan() -> None:
    found = resolved(
        Broker(read=("~/Documents",), links=("https",)), files=Files(hide=("~/Documents/taxes",))
    )
    assert found.broker is not None
    again = rules.decode(rules.encode(found.broker))
    assert (found.broker.paths[0].origin, found.broker.hidden, found.broker.outward[0].value) == (
        again.paths[0].origin,
        again.hidden,
        again.outward[0].value,
    )


def test_all_grants_are_by_the_line_that_asked() -> None:
    for grant in resolved(Broker(read=("~/Documents",))).grants:
        assert bool(grant.brokered) == (grant.origin.key == "broker.read")
