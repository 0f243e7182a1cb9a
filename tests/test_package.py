"""What gets installed: the wheel that pip, uv and pipx all make from this tree."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import BESIDE_PYTHON, need

from sandboxer.desktop import extras

TREE = Path(__file__).resolve().parent.parent
EXECUTABLES = ("sandbox", "sandbox-broker")
EXECUTABLE_SIZE_MAX = 1024 * 1024
"""Bytes; a static glibc is most of it where it is linked statically."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy of the tree, without the network."""
    need("cmake")
    directory = tmp_path_factory.mktemp("wheel")
    copy = directory / "tree"
    skipped = shutil.ignore_patterns(".git", ".venv", "build", ".*_cache", "__pycache__", ".hypothesis")
    shutil.copytree(TREE, copy, ignore=skipped)
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "--quiet",
                "--no-deps",
                "--no-index",
                "--no-build-isolation",
            ),
            *("--disable-pip-version-check", "--wheel-dir", str(directory), str(copy)),
        ],
        env=os.environ | {"PATH": f"{BESIDE_PYTHON}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"pip wheel:\n{done.stdout}{done.stderr}", pytrace=False)
    (built,) = directory.glob("*.whl")
    return zipfile.ZipFile(built)


def test_one_wheel_serves_every_python_from_3_11_on(wheel: zipfile.ZipFile) -> None:
    assert "-cp311-abi3-linux_" in Path(str(wheel.filename)).name


def test_the_distribution_has_the_name_that_the_readme_tells(wheel: zipfile.ZipFile) -> None:
    name = Path(str(wheel.filename)).name.split("-")[0].replace("_", "-")
    assert f"pip uninstall {name}`" in (TREE / "README.md").read_text()


@pytest.mark.parametrize("name", EXECUTABLES)
def test_it_is_installed_as_a_stripped_executable(wheel: zipfile.ZipFile, tmp_path: Path, name: str) -> None:
    (entry,) = [info for info in wheel.infolist() if info.filename.endswith(f".data/scripts/{name}")]
    assert 0o755 == stat.S_IMODE(entry.external_attr >> 16)
    assert entry.file_size < EXECUTABLE_SIZE_MAX
    sections = subprocess.run(
        [need("readelf"), "--sections", "--wide", wheel.extract(entry, tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert ".symtab" not in sections
    assert ".debug_info" not in sections


@pytest.mark.parametrize("name", EXECUTABLES)
def test_it_needs_no_library_but_libc(wheel: zipfile.ZipFile, tmp_path: Path, name: str) -> None:
    (entry,) = [info for info in wheel.infolist() if info.filename.endswith(f".data/scripts/{name}")]
    dynamic = subprocess.run(
        [need("readelf"), "--dynamic", "--wide", wheel.extract(entry, tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    needed = [line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line]
    assert needed in ([], ["libc.so.6"])


def test_the_package_holds_every_module_and_every_policy(wheel: zipfile.ZipFile) -> None:
    wanted = {path.relative_to(TREE).as_posix() for path in (TREE / "sandboxer").rglob("*.py")}
    wanted |= {
        f"sandboxer/{path.relative_to(TREE).as_posix()}"
        for path in (TREE / "policies").rglob("*")
        if path.is_file()
    }
    wanted |= {
        f"sandboxer/desktop-data/{path.relative_to(TREE / 'desktop').as_posix()}"
        for path in (TREE / "desktop").rglob("*")
        if path.is_file()
    }
    assert set() == wanted - set(wheel.namelist())


def test_what_shells_man_and_desktops_look_for_lies_below_share(wheel: zipfile.ZipFile) -> None:
    split = [name.partition(".data/data/share/") for name in wheel.namelist()]
    places = {place for _, found, place in split if found}
    assert set(extras.PLACES.values()) == places
    for name, place in extras.PLACES.items():
        (entry,) = [info for info in wheel.infolist() if info.filename.endswith(f".data/data/share/{place}")]
        assert (TREE / "desktop" / name).read_bytes() == wheel.read(entry)
        assert 0o644 == stat.S_IMODE(entry.external_attr >> 16)


def test_the_package_holds_nothing_else_but_the_extensions(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if name.startswith("sandboxer/")]
    native = [name for name in names if name.endswith(".so")]
    assert ["sandboxer/_kernel.abi3.so", "sandboxer/_native.abi3.so"] == sorted(native)
    code = [name for name in names if not name.startswith("sandboxer/desktop-data/")]
    kinds = {Path(name).suffix for name in code} - {".py", ".pyi", ".so", ".toml", ".json", ".md"}
    assert set() == kinds


def test_the_commands_are_sandbox_and_sandboxer(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    assert b"sandboxer = sandboxer.cli.main:main" in wheel.read(entry_points)
