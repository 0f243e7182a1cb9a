"""The rooms and their fences: who imports whom, who reads the environment, what the native code never calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
PACKAGE = TREE / "sandboxer"
LAUNCHERS = TREE / "launchers"

RANKS = {
    "sandboxer": 0,
    "sandboxer.words": 0,
    "sandboxer._native": 0,
    "sandboxer._kernel": 0,
    "sandboxer.process_state": 0,
    "sandboxer.errors": 1,
    "sandboxer.plan.ops": 1,
    "sandboxer.broker.protocol": 1,
    "sandboxer.broker.rules": 1,
    "sandboxer.broker": 2,
    "sandboxer.broker.channel": 2,
    "sandboxer.broker.header": 2,
    "sandboxer.broker.reference": 3,
    "sandboxer.client": 3,
    "sandboxer.paths": 2,
    "sandboxer.host.view": 2,
    "sandboxer.policy": 3,
    "sandboxer.host": 3,
    "sandboxer.grants": 4,
    "sandboxer.resolve": 5,
    "sandboxer.plan": 6,
    "sandboxer.steward": 7,
    "sandboxer.desktop": 7,
    "sandboxer.doctor": 7,
    "sandboxer.cli": 8,
    "sandboxer.companion": 8,
    "sandboxer.report": 8,
}
"""A module imports lower ranks and its own room; the longest name that fits counts."""

SEVERAL_IMPORTERS = {
    "msgspec": ("sandboxer.words", "sandboxer.policy.", "sandboxer.steward.", "sandboxer.desktop."),
    "xdg": ("sandboxer.host.session", "sandboxer.steward.", "sandboxer.desktop."),
}
"""
Third-party packages that more than one module may import, and which: msgspec is the language of policies and of the
control socket, pyxdg knows base directories and, apart from that, desktop entries and types.
"""

THIRD_PARTY = {"cffi", "dbus_next", "msgspec", "prctl", "pyseccomp", "rich", "xdg"}

FORBIDDEN_IN_C = re.compile(
    r"\b(malloc|calloc|realloc|reallocarray|free|alloca|strdup|strndup|asprintf|vasprintf|getline|"
    r"v?f?printf|v?sprintf|v?dprintf|puts|fputs|fopen|fdopen|fwrite|fread|perror|setlocale|pthread_\w+|"
    r"getenv|secure_getenv)\s*\("
)
"""snprintf is left: it formats into a buffer of fixed size, and with %s and %d takes nothing from heap or locale."""


def name_of(path: Path) -> str:
    """A file's module name."""
    parts = path.relative_to(TREE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str) -> Iterator[str]:
    """Every module that `module` names in an import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def room_of(module: str) -> str:
    """The longest entry of RANKS that `module` lies in."""
    fits = [room for room in RANKS if module == room or module.startswith(f"{room}.")]
    return max(fits, key=len)


def code_of(path: Path) -> str:
    """C source without comments and strings, its lines kept."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
    return pattern.sub(lambda match: "\n" * match.group().count("\n"), path.read_text(encoding="utf-8"))


def test_every_module_has_a_rank() -> None:
    unranked = [name for name in MODULES if name != "sandboxer" and room_of(name) == "sandboxer"]
    assert [] == unranked


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_its_own_room_and_lower_ones(module: str) -> None:
    own = room_of(module)
    above = [
        other
        for other in imported(module)
        if other.split(".")[0] == "sandboxer"
        and room_of(other) != own
        and RANKS[room_of(other)] >= RANKS[own]
    ]
    assert [] == above


def test_nothing_imports_the_command_line() -> None:
    guilty = [
        module
        for module in MODULES
        if not module.startswith("sandboxer.cli")
        and any(other.startswith("sandboxer.cli") for other in imported(module))
    ]
    assert [] == guilty


def test_only_the_session_and_the_client_in_the_box_read_the_environment() -> None:
    readers = set()
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            attribute = isinstance(node, ast.Attribute) and node.attr in {
                "environ",
                "environb",
                "getenv",
                "getenvb",
            }
            direct = isinstance(node, ast.alias) and node.name in {"environ", "environb", "getenv", "getenvb"}
            if attribute or direct:
                readers.add(module)
    assert {"sandboxer.host.session", "sandboxer.broker.channel"} == readers


def test_each_third_party_package_is_imported_by_one_module() -> None:
    importers: dict[str, set[str]] = {}
    for module in MODULES:
        for other in imported(module):
            package = other.split(".")[0]
            if package in THIRD_PARTY:
                importers.setdefault(package, set()).add(module)
    guilty = {
        package: modules
        for package, modules in importers.items()
        if len(modules) > 1
        and not all(module.startswith(SEVERAL_IMPORTERS.get(package, ())) for module in modules)
    }
    assert {} == guilty


def test_the_native_code_has_no_heap_no_stdio_and_no_environment_outside_main() -> None:
    found = [
        f"{path.name}:{number}: {match.group(1)}"
        for path in sorted(LAUNCHERS.rglob("*.[ch]"))
        if path.name != "main.c"
        for number, line in enumerate(code_of(path).splitlines(), start=1)
        for match in FORBIDDEN_IN_C.finditer(line)
    ]
    assert [] == found


def test_main_has_no_heap_either() -> None:
    heap = re.compile(r"\b(malloc|calloc|realloc|reallocarray|free|alloca|strn?dup|v?asprintf)\s*\(")
    found = {path: heap.findall(code_of(path)) for path in LAUNCHERS.rglob("main.c")}
    assert {LAUNCHERS / "main.c": [], LAUNCHERS / "client" / "main.c": []} == found


def test_the_forbidden_calls_are_found_where_they_are() -> None:
    guilty = "char *s = strdup(x);\nfprintf(b, y);\nx = getenv (z);"
    assert ["strdup", "fprintf", "getenv"] == FORBIDDEN_IN_C.findall(guilty)
    assert [] == FORBIDDEN_IN_C.findall("free_slots(x); plan_free = 1;")


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile("pypi" + r"\.org|" + "pythonhosted" + r"\.org|" + "test" + r"\.pypi")
    skipped = {".git", ".venv", "build"}
    guilty = [
        str(path.relative_to(TREE))
        for path in TREE.rglob("*")
        if path.is_file()
        and not skipped.intersection(path.relative_to(TREE).parts)
        and not any(part.endswith("_cache") for part in path.parts)
        and hosts.search(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert [] == guilty
