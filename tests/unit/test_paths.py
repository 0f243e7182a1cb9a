"""Where shipped files are found: in the package, else beside it in a checkout, else nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxer import paths
from sandboxer.errors import SandboxerError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "sandboxer"
    place.mkdir()
    monkeypatch.setattr(paths, "__file__", str(place / "paths.py"))
    paths.data_dir.cache_clear()
    yield place
    paths.data_dir.cache_clear()


def test_an_installed_package_holds_them_itself(package: Path) -> None:
    (package / "policies").mkdir()
    (package.parent / "policies").mkdir()
    (package.parent / "launchers").mkdir()
    assert str(package / "policies") == paths.data_dir("policies")


def test_a_checkout_has_them_beside_the_package(package: Path) -> None:
    (package.parent / "policies").mkdir()
    (package.parent / "launchers").mkdir()
    assert str(package.parent / "policies") == paths.data_dir("policies")


def test_a_stranger_beside_an_installed_package_is_not_taken(package: Path) -> None:
    (package.parent / "policies").mkdir()
    with pytest.raises(SandboxerError) as caught:
        paths.data_dir("policies")
    assert "install sandboxer again" == caught.value.hint
