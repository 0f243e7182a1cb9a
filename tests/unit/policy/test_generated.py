"""The files that are made from the model are those that the model makes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sandboxer.paths import data_dir
from sandboxer.policy.keys import keys
from sandboxer.policy.reference import reference
from sandboxer.policy.schema import schema


@pytest.mark.parametrize(
    ("module", "file"),
    [("sandboxer.policy.schema", "policy.schema.json"), ("sandboxer.policy.reference", "README.md")],
)
def test_the_file_is_what_the_program_prints(module: str, file: str) -> None:
    """When it isn't: python -m MODULE > policies/FILE."""
    printed = subprocess.run([sys.executable, "-m", module], capture_output=True, check=True).stdout
    with open(f"{data_dir('policies')}/{file}", "rb") as committed:
        assert printed == committed.read()


def resolved(document: Any, node: Any) -> Any:
    reference = node.get("$ref", "")
    return document["$defs"][reference.rpartition("/")[2]] if reference else node


def test_the_schema_has_every_key_with_its_meaning_and_takes_no_other() -> None:
    document = json.loads(schema())
    policy = resolved(document, document)
    for key in keys().values():
        table, _, name = key.name.rpartition(".")
        place = resolved(document, policy["properties"][table]) if table else policy
        assert key.description == place["properties"][name]["description"]
        assert place["additionalProperties"] is False


def test_the_schema_lets_items_be_taken_away() -> None:
    items = json.loads(schema())["$defs"]["Syscalls"]["properties"]["foreign"]["items"]["enum"]
    assert ["i386", "x32", "!i386", "!x32", "!*"] == items
    services = json.loads(schema())["$defs"]["Broker"]["properties"]["connect"]["items"]["enum"]
    assert {"ssh-agent", "!ssh-agent", "!*"} < set(services)


def test_the_reference_has_every_key_once() -> None:
    page = reference()
    for key in keys().values():
        row = f"| `{key.name.rpartition('.')[2]}` | "
        assert any(line.startswith(row) and key.description in line for line in page.splitlines()), key.name


def test_the_examples_of_the_reference_are_right() -> None:
    from sandboxer.policy.parse import problems

    blocks = reference().split("```toml\n")[1:]
    assert blocks
    for block in blocks:
        assert () == problems(block.partition("```")[0].encode(), "README.md")
