"""The cache of filters: what is found again, what is made anew, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filters import program, rules

from sandboxer.errors import LaunchError
from sandboxer.plan import filter_cache


def entry(directory: Path) -> Path:
    (found,) = directory.iterdir()
    return found


def test_what_was_made_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "cache"
    first = filter_cache.program(rules(), (), str(directory))
    assert program() == first
    monkeypatch.setattr("sandboxer.plan.seccomp.assemble", lambda *_: pytest.fail("made again"))
    assert first == filter_cache.program(rules(), (), str(directory))
    assert entry(directory).stat().st_mode & 0o7777 == 0o600
    assert directory.stat().st_mode & 0o7777 == 0o700


def test_a_hit_imports_no_pyseccomp(tmp_path: Path) -> None:
    filter_cache.program((), (), str(tmp_path / "cache"))
    words = (
        "import sys; from sandboxer.plan import filter_cache as c; "
        "c.program((), (), sys.argv[1]); "
        "print(sorted({'pyseccomp', 'ctypes', 'tempfile', 'pathlib'} & set(sys.modules)))"
    )
    path = os.path.dirname(os.path.dirname(os.path.dirname(filter_cache.__file__)))
    run = subprocess.run(
        [sys.executable, "-P", "-c", words, str(tmp_path / "cache")],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "[]\n"


def test_other_rules_are_another_entry(tmp_path: Path) -> None:
    filter_cache.program(rules(), (), str(tmp_path))
    filter_cache.program(rules(nested=True), (), str(tmp_path))
    filter_cache.program(rules(), ("i386",), str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 3


def test_two_inputs_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zlib.crc32", lambda _: 7)
    assert filter_cache.program(rules(), (), str(tmp_path)) == program()
    assert filter_cache.program(rules(nested=True), (), str(tmp_path)) == program(nested=True)
    assert len(list(tmp_path.iterdir())) == 1


def test_another_library_or_code_makes_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libseccomp.so.2"
    monkeypatch.setattr(filter_cache, "_library_paths", lambda: (str(library),))
    inputs = [filter_cache.inputs((), ())]
    for content in ("one", "three"):
        library.write_text(content)
        inputs.append(filter_cache.inputs((), ()))
    monkeypatch.setattr(filter_cache, "__version__", "9")
    inputs.append(filter_cache.inputs((), ()))
    assert len(set(inputs)) == 4


def test_the_library_that_is_loaded_is_among_those_watched() -> None:
    import pyseccomp

    assert pyseccomp is not None
    with open("/proc/self/maps") as maps:
        loaded = {os.path.realpath(line.split()[-1]) for line in maps if "libseccomp" in line}
    assert loaded
    assert loaded <= {os.path.realpath(path) for path in filter_cache._library_paths()}


@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "flipped", "mode", "link", "fifo", "directory"])
def test_a_damaged_or_doubtful_entry_is_replaced(tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "cache"
    filter_cache.program(rules(), (), str(directory))
    path = entry(directory)
    content = path.read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(content[:-8])
        case "longer":
            path.write_bytes(content + bytes(8))
        case "flipped":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "mode":
            path.chmod(0o644)
        case "link":
            path.rename(tmp_path / "moved")
            path.symlink_to(tmp_path / "moved")
        case "fifo":
            path.unlink()
            os.mkfifo(path, 0o600)
        case "directory":
            path.unlink()
            path.mkdir()
            with pytest.raises(LaunchError, match="cannot store"):
                filter_cache.program(rules(), (), str(directory))
            assert [path] == list(directory.iterdir())
            return
    assert program() == filter_cache.program(rules(), (), str(directory))
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o7777 == 0o600
    assert not path.is_symlink()


def test_somebody_elses_entry_or_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "cache"
    filter_cache.program(rules(), (), str(directory))
    path = entry(directory)
    content = path.read_bytes()
    path.write_bytes(content[:-8] + b"\0" * 8)
    mine = os.geteuid()
    # As if this process were somebody else's: the file and its directory belong to another than it.
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(LaunchError, match="can't be trusted"):
        filter_cache.program(rules(), (), str(directory))


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(LaunchError, match="can't be trusted"):
        filter_cache.program(rules(), (), str(tmp_path))


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.rename", full)
    with pytest.raises(LaunchError) as caught:
        filter_cache.program(rules(), (), str(tmp_path))
    assert "No space left on device" in caught.value.subject
    assert [] == list(tmp_path.iterdir())
