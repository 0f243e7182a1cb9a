"""A name → its policy: which files are looked for, in which order they hold, and which are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from fakes import ANN, Directory, Entry, FakeHost, Link, Node

from sandboxer.errors import PolicyError
from sandboxer.host.view import FileType
from sandboxer.plan.ops import StampKind
from sandboxer.policy import layers
from sandboxer.policy.layers import group_files, load, load_app_or_set, load_set, names, places
from sandboxer.words import Origin, changed

SHIPPED = "/opt/sandboxer/policies"
ETC = "/etc/sandboxer"
OWN = "/home/ann/.config/sandboxer"

BASE = {
    f"{SHIPPED}/sets/base.toml": "[files]\nsystem = ['?/etc/fonts']\n",
    f"{SHIPPED}/sets/strict.toml": "extends = ['base']\n",
    f"{SHIPPED}/sets/gui.toml": "extends = ['base']\n[display]\nx11 = true\n",
    f"{SHIPPED}/apps/paint.toml": "extends = ['gui']\n[files]\nhome = 'private'\nread = ['~/a']\n",
}


@pytest.fixture(autouse=True)
def _shipped_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def shipped(kind: str) -> str:
        assert kind == "policies"
        return SHIPPED

    monkeypatch.setattr(layers, "data_dir", shipped)


def machine(
    more: Mapping[str, Entry] = {},
    variables: Mapping[str, str] = {},
    owners: Mapping[str, tuple[int, int, int]] = {},
) -> FakeHost:
    return FakeHost({**BASE, **more}, variables=variables, owners=owners)


def refused(act: Callable[[], object]) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        act()
    return caught.value


def test_a_shipped_policy_stands_on_its_sets() -> None:
    effective = load("paint", machine())
    assert effective.found
    assert "paint" == effective.name
    assert ("base", "gui") == effective.policy.extends
    assert effective.policy.display.x11 is True
    assert Origin("sets/gui.toml", 3, "display.x11") == effective.origin("display.x11")
    assert Origin("sets/base.toml", 2, "files.system") == effective.origin("files.system", "?/etc/fonts")
    assert Origin("apps/paint.toml", 4, "files.read") == effective.origin("files.read", "~/a")
    assert Origin("sets/gui.toml", 1, "extends") == effective.origin("extends", "base")


def test_the_user_holds_over_the_administrator_over_what_is_shipped() -> None:
    tree = {
        f"{ETC}/apps/paint.toml": "[files]\nhome = 'host'\nread = ['~/b']\n",
        f"{OWN}/apps/paint.toml": "[files]\nhome = 'ephemeral'\nread = ['!~/a', '~/c']\n",
    }
    effective = load("paint", machine(tree), settings=["files.home=private", 'files.read=["~/d"]'])
    assert ("~/b", "~/c", "~/d") == effective.policy.files.read
    assert "private" == effective.policy.files.home
    files = [effective.origin("files.read", item).file for item in ("~/b", "~/c", "~/d")]
    assert [f"{ETC}/apps/paint.toml", "~/.config/sandboxer/apps/paint.toml", "command line"] == files


def test_drop_ins_hold_over_their_file_in_the_order_of_their_names() -> None:
    tree = {
        f"{ETC}/apps/paint.d/20-b.toml": "summary = '20'\n",
        f"{ETC}/apps/paint.d/10-a.toml": "summary = '10'\n",
        f"{ETC}/apps/paint.d/30-c.toml~": "not read",
        f"{ETC}/apps/paint.d/.40.toml": "not read",
        f"{ETC}/apps/paint.toml": "summary = '0'\n",
    }
    effective = load("paint", machine(tree))
    assert "20" == effective.policy.summary
    assert Origin(f"{ETC}/apps/paint.d/20-b.toml", 1, "summary") == effective.origin("summary")


def test_a_drop_in_alone_is_a_policy() -> None:
    effective = load("new", machine({f"{OWN}/apps/new.d/x.toml": "extends = ['gui']\n"}))
    assert effective.found
    assert effective.policy.display.x11 is True


def test_a_set_has_layers_of_its_own() -> None:
    effective = load("paint", machine({f"{OWN}/sets/gui.toml": "[display]\nx11 = false\n"}))
    assert effective.policy.display.x11 is False
    assert "~/.config/sandboxer/sets/gui.toml" == effective.origin("display.x11").file


def test_an_application_holds_over_the_users_layer_of_a_set() -> None:
    tree = {f"{OWN}/sets/gui.toml": "[files]\nhome = 'host'\n"}
    assert "private" == load("paint", machine(tree)).policy.files.home


def test_a_layer_can_extend_more_or_less() -> None:
    tree = {
        f"{OWN}/apps/paint.toml": "extends = ['!gui', 'loud']\n",
        f"{OWN}/sets/loud.toml": "[sound]\nrecord = true\n",
    }
    effective = load("paint", machine(tree), settings=['extends=["strict"]'])
    assert ("loud", "base", "strict") == effective.policy.extends
    assert effective.policy.display.x11 is False
    assert effective.policy.sound.record


def test_a_set_that_is_reached_twice_counts_once_at_its_first_place() -> None:
    tree = {
        f"{SHIPPED}/sets/base.toml": "[look]\nfonts = false\n",
        f"{SHIPPED}/sets/pretty.toml": "extends = ['base']\n[look]\nfonts = true\n",
        f"{SHIPPED}/sets/late.toml": "extends = ['base']\n",
        f"{SHIPPED}/apps/x.toml": "extends = ['pretty', 'late', 'base']\n",
    }
    effective = load("x", machine(tree))
    assert effective.policy.look.fonts
    assert ("base", "pretty", "late") == effective.policy.extends


def test_a_set_that_extends_itself_is_refused_with_the_way_round() -> None:
    tree = {
        f"{SHIPPED}/sets/a.toml": "extends = ['b']\n",
        f"{SHIPPED}/sets/b.toml": "extends = [\n'a']\n",
        f"{SHIPPED}/apps/x.toml": "extends = ['a']\n",
    }
    error = refused(lambda: load("x", machine(tree)))
    assert "a → b → a" == error.subject
    assert Origin("sets/b.toml", 2, "extends") == error.origin


def test_an_unknown_set_names_the_nearest_one() -> None:
    error = refused(lambda: load("x", machine({f"{OWN}/apps/x.toml": "\nextends = ['giu']\n"})))
    assert "no layer has sets/giu.toml" == error.subject
    assert 'write "gui"' == error.hint
    assert Origin("~/.config/sandboxer/apps/x.toml", 2, "extends") == error.origin


def test_an_application_without_a_policy_gets_the_strict_set_under_its_own_name() -> None:
    effective = load("unheard-of", machine())
    assert not effective.found
    assert "unheard-of" == effective.name
    assert ("?/etc/fonts",) == effective.policy.files.system
    assert "none" == effective.policy.network.access


def test_the_command_line_reaches_the_strict_set_too() -> None:
    effective = load("unheard-of", machine(), settings=["network.access=host"])
    assert not effective.found
    assert "host" == effective.policy.network.access
    assert "command line network.access" == str(effective.origin("network.access"))


def test_an_explicit_file_takes_the_place_of_the_layers() -> None:
    tree = {
        f"{OWN}/apps/paint.toml": "[files]\nread = ['~/b']\n",
        "/home/ann/work/my.toml": "extends = ['gui']\n[files]\nread = ['~/c']\n",
    }
    host = machine(tree)
    host.working_directory = "/home/ann/work"
    for file in ("./my.toml", "/home/ann/work/my.toml"):
        effective = load("paint", host, file=file)
        assert effective.found
        assert ("~/c",) == effective.policy.files.read
        assert effective.policy.display.x11 is True
        assert Origin(file, 3, "files.read") == effective.origin("files.read", "~/c")


def test_an_explicit_file_that_is_not_there_is_an_error() -> None:
    error = refused(lambda: load("x", machine(), file="./none.toml"))
    assert "./none.toml: no such file" == error.subject


def test_a_set_can_be_loaded_by_itself() -> None:
    effective = load_set("gui", machine())
    assert effective.policy.display.x11 is True
    assert 'write "gui"' == refused(lambda: load_set("guy", machine())).hint


def test_a_name_for_run_is_an_applications_else_a_sets() -> None:
    tree = {f"{OWN}/apps/gui.toml": 'extends = ["base"]\n[display]\nx11 = false\n'}
    assert load_app_or_set("gui", machine()).policy == load_set("gui", machine()).policy
    assert load_app_or_set("gui", machine(tree)).policy == load("gui", machine(tree)).policy
    assert load_app_or_set("gui", machine(tree)).policy.display.x11 is False
    assert 'write "gui"' == refused(lambda: load_app_or_set("guy", machine())).hint


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "-x", "a b", "a\0b", "x" * 65, "ä"])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    assert "there can be no policy of that name" == refused(lambda: load(name, machine())).what
    assert "there can be no policy of that name" == refused(lambda: load_set(name, machine())).what


def test_names_come_from_all_layers_once() -> None:
    tree = {
        f"{ETC}/apps/paint.toml": "",
        f"{OWN}/apps/new.d/x.toml": "",
        f"{OWN}/apps/notes.txt": "",
        f"{OWN}/apps/.hidden.toml": "",
    }
    assert ("new", "paint") == names("apps", machine(tree))
    assert ("base", "gui", "strict") == names("sets", machine(tree))


@pytest.mark.parametrize(
    ("variable", "path", "shown"),
    [
        ("", "/home/ann/.config/sandboxer", "~/.config/sandboxer"),
        ("relative", "/home/ann/.config/sandboxer", "~/.config/sandboxer"),
        ("/home/ann/conf/", "/home/ann/conf/sandboxer", "~/conf/sandboxer"),
        ("/srv/conf", "/srv/conf/sandboxer", "/srv/conf/sandboxer"),
        ("/home/anna/conf", "/home/anna/conf/sandboxer", "/home/anna/conf/sandboxer"),
    ],
)
def test_the_users_layer_is_where_xdg_says(variable: str, path: str, shown: str) -> None:
    host = FakeHost(BASE, variables={"XDG_CONFIG_HOME": variable})
    assert (path, shown) == (places(host)[2].path, places(host)[2].shown)
    assert [SHIPPED, ETC, path] == [place.path for place in places(host)]


def test_every_file_and_every_absence_becomes_a_stamp() -> None:
    host = machine({f"{OWN}/sets/gui.toml": ""})
    load("paint", host)
    stamps = {(stamp.kind, stamp.name) for stamp in host.stamps()}
    assert {
        (StampKind.ENV_ABSENT, "XDG_CONFIG_HOME"),
        (StampKind.ABSENT, ETC),
        (StampKind.FILE, f"{SHIPPED}/apps/paint.toml"),
        (StampKind.FILE, f"{SHIPPED}/sets/gui.toml"),
        (StampKind.FILE, f"{SHIPPED}/sets/base.toml"),
        (StampKind.FILE, f"{OWN}/sets/gui.toml"),
        (StampKind.ABSENT, f"{SHIPPED}/apps/paint.d"),
        (StampKind.ABSENT, f"{OWN}/apps/paint.toml"),
        (StampKind.ABSENT, f"{OWN}/apps/paint.d"),
        (StampKind.ABSENT, f"{OWN}/sets/gui.d"),
        (StampKind.ABSENT, f"{OWN}/sets/base.toml"),
    } <= stamps


def test_a_layer_that_is_not_there_costs_one_stamp() -> None:
    host = machine()
    load("paint", host)
    assert 1 == sum(stamp.name.startswith(ETC) for stamp in host.stamps())


PAINT = f"{OWN}/apps/paint.toml"


@pytest.mark.parametrize(
    ("path", "facts", "wrong"),
    [
        (PAINT, (0o646, 1000, 1000), "paint.toml: others can write it (mode 0646)"),
        (PAINT, (0o664, 1000, 100), "others can write it (mode 0664)"),
        (PAINT, (0o644, 1001, 1000), "it belongs to user 1001"),
        (f"{OWN}/apps", (0o777, 1000, 1000), "~/.config/sandboxer/apps: others can write it (mode 0777)"),
        (OWN, (0o1777, 1000, 1000), "~/.config/sandboxer: others can write it (mode 1777)"),
        (OWN, (0o755, 1001, 1000), "it belongs to user 1001"),
    ],
)
def test_a_policy_that_others_could_have_written_is_refused(
    path: str, facts: tuple[int, int, int], wrong: str
) -> None:
    error = refused(lambda: load("paint", machine({PAINT: ""}, owners={path: facts})))
    assert "can't be trusted" in error.what
    assert wrong in error.subject
    assert error.hint.startswith(("chmod go-w ~/.config", "chown ann ~/.config"))


@pytest.mark.parametrize(
    "place", ["sets/gui.toml", "sets/gui.d/x.toml", "apps/paint.d/x.toml", "deny/mount.toml"]
)
@pytest.mark.parametrize("layer", [ETC, OWN])
def test_sets_drop_ins_and_groups_are_looked_at_in_the_same_way(layer: str, place: str) -> None:
    host = machine({f"{layer}/{place}": ""}, owners={f"{layer}/{place}": (0o666, 0, 0)})

    def act() -> None:
        load("paint", host)
        group_files(["mount"], host)

    assert "can't be trusted" in refused(act).what


@pytest.mark.parametrize(
    "facts", [(0o644, 0, 0), (0o600, 1000, 1000), (0o664, 1000, 1000), (0o664, 0, 0), (0o444, 0, 50)]
)
def test_a_policy_of_the_user_or_of_root_is_taken(facts: tuple[int, int, int]) -> None:
    """Also one that the user's own group can write, which on Debian and Ubuntu is the user alone."""
    assert load("paint", machine({PAINT: ""}, owners={PAINT: facts})).found


def test_a_group_that_is_not_the_users_alone_may_not_write() -> None:
    host = machine({PAINT: ""}, owners={PAINT: (0o664, 1000, 100)})
    host.user = changed(ANN, gid=100, group="users")
    assert "can't be trusted" in refused(lambda: load("paint", host)).what


def test_a_file_that_a_link_leads_to_is_the_one_that_is_looked_at() -> None:
    tree: dict[str, Entry] = {PAINT: Link(target="/tmp/p.toml"), "/tmp/p.toml": ""}
    assert (
        "belongs to user 1001"
        in refused(lambda: load("paint", machine(tree, owners={"/tmp/p.toml": (0o644, 1001, 1001)}))).subject
    )


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (Directory(), "it is a directory, not a file"),
        (Node(type=FileType.CHARACTER), "it is a character device, not a file"),
        (Node(type=FileType.FIFO), "it is a pipe, not a file"),
    ],
)
def test_what_is_there_but_is_no_file_is_not_passed_over(entry: Entry, why: str) -> None:
    assert why in refused(lambda: load("paint", machine({PAINT: entry}))).subject


def test_a_policy_that_cannot_be_read_is_not_passed_over() -> None:
    error = refused(lambda: load("paint", machine({PAINT: ""}, owners={PAINT: (0, 0, 0)})))
    assert "~/.config/sandboxer/apps/paint.toml: permission denied" == error.subject


def test_a_drop_in_that_leads_nowhere_is_not_passed_over() -> None:
    tree = {f"{OWN}/apps/paint.d/x.toml": Link(target="/nowhere")}
    assert "x.toml: no such file" in refused(lambda: load("paint", machine(tree))).subject
