"""Paths as policies write them."""

from __future__ import annotations

import machines
import pytest
from fakes import Directory, FakeHost, Link
from machines import ASKED

from sandboxer.errors import ResolveError
from sandboxer.grants.paths import absolute, places, within
from sandboxer.words import Origin


def written(text: str, host: FakeHost) -> list[str]:
    return [place.written for place in places(text, host, ASKED)]


def test_a_tilde_is_the_home() -> None:
    host = FakeHost({"/home/ann/x": ""})
    assert ["/home/ann/x"] == written("~/x", host)


def test_an_xdg_name_is_found_in_any_language() -> None:
    settings = '# comment\nXDG_DOWNLOAD_DIR="$HOME/Téléchargements"\nXDG_MUSIC_DIR="/srv/m\\"usik"\n'
    host = FakeHost(
        {
            "/home/ann/.config/user-dirs.dirs": settings,
            "/home/ann/Téléchargements/a": "",
            '/srv/m"usik': Directory(),
        }
    )
    assert ["/home/ann/Téléchargements"] == written("Downloads", host)
    assert ["/home/ann/Téléchargements/a"] == written("Downloads/a", host)
    assert ['/srv/m"usik'] == written("Music", host)


def test_an_xdg_name_without_a_setting_is_the_english_one() -> None:
    assert "/home/ann/Videos" == absolute("Videos", FakeHost(), ASKED)


@pytest.mark.parametrize("value", ["$HOME/", "$HOME", "/home/ann", "/"])
def test_an_xdg_name_that_is_the_home_itself_is_refused(value: str) -> None:
    host = FakeHost({"/home/ann/.config/user-dirs.dirs": f'XDG_DOWNLOAD_DIR="{value}"\n'})
    with pytest.raises(ResolveError, match="no Downloads directory"):
        written("Downloads", host)


@pytest.mark.parametrize(
    "line", ["XDG_DOWNLOAD_DIR=x", 'XDG_DOWNLOAD_DIR="relative"', 'XDG_DOWNLOAD_DIR="', "nonsense"]
)
def test_a_line_of_user_dirs_that_means_nothing_is_passed_over(line: str) -> None:
    host = FakeHost({"/home/ann/.config/user-dirs.dirs": line + "\n", "/home/ann/Downloads": Directory()})
    assert ["/home/ann/Downloads"] == written("Downloads", host)


def test_a_missing_path_names_the_line_and_how_to_make_it_optional() -> None:
    with pytest.raises(ResolveError) as caught:
        written("~/no", FakeHost())
    assert ASKED == caught.value.origin
    assert '"?~/no"' in caught.value.hint


def test_an_optional_path_may_be_missing() -> None:
    assert [] == written("?~/no", FakeHost())


def test_a_glob_matches_within_one_component_and_no_leading_dot() -> None:
    host = FakeHost(
        {"/home/ann/a1/x.txt": "", "/home/ann/a2/x.txt": "", "/home/ann/a2/.y.txt": "", "/home/ann/b": ""}
    )
    assert ["/home/ann/a1/x.txt", "/home/ann/a2/x.txt"] == written("~/a*/*.txt", host)
    assert ["/home/ann/a2/.y.txt"] == written("~/a2/.*", host)


def test_a_glob_never_goes_by_way_of_a_link_that_it_found() -> None:
    host = FakeHost(
        {"/home/ann/work/real": "", "/home/ann/work/planted": Link(target="/etc"), "/etc/shadow": ""}
    )
    assert ["/home/ann/work/real"] == written("~/work/*", host)
    assert [] == written("?~/work/*/shadow", host)


def test_a_glob_that_matches_too_much_is_refused() -> None:
    host = FakeHost({f"/home/ann/many/{number}": "" for number in range(300)})
    with pytest.raises(ResolveError, match="too much"):
        written("~/many/*", host)


def test_a_link_is_followed_and_both_ends_are_known() -> None:
    host = FakeHost({"/home/ann/Documents": Link(target="/data/docs"), "/data/docs": Directory()})
    (place,) = places("~/Documents", host, ASKED)
    assert ("/home/ann/Documents", "/data/docs") == (place.written, place.real)


def test_being_within_is_about_components_not_letters() -> None:
    assert within("/a/b", "/a")
    assert within("/a", "/a")
    assert within("/a", "/")
    assert not within("/ab", "/a")


def test_a_misspelt_path_to_hide_is_led_to_what_is_there_and_never_to_a_question_mark() -> None:
    host = machines.machine({"/home/ann/Documents/taxes/2025.pdf": ""})
    for text in ("~/Docments/taxes", "~/Documents/taxs"):
        with pytest.raises(ResolveError, match="cannot hide a path that isn't there") as caught:
            list(places(text, host, Origin("a.toml", 1, "files.hide")))
        assert 'write "~/Documents/taxes"' == caught.value.hint


def test_a_misspelt_path_to_grant_is_led_to_what_is_there() -> None:
    with pytest.raises(ResolveError) as caught:
        list(places("~/Downlods", machines.machine(), Origin("a.toml", 1, "files.read")))
    assert caught.value.hint.startswith('write "~/Downloads", or make it')


def test_a_path_behind_a_closed_directory_is_not_said_to_be_missing() -> None:
    host = machines.machine({"/root": Directory()})
    host.owners["/root"] = (0o700, 0, 0)
    with pytest.raises(ResolveError, match="cannot grant a path that you can't look at") as caught:
        list(places("/root/x", host, Origin("a.toml", 1, "files.write")))
    assert "/root/x: /root is closed to you" == caught.value.subject
