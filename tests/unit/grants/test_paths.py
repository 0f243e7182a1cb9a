"""Paths as policies write them."""

from __future__ import annotations

import pytest
from fakes import Directory, FakeHost, Link
from machines import ASKED

from sandboxer.errors import ResolveError
from sandboxer.grants.paths import absolute, places, within


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
