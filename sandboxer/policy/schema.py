"""
The JSON Schema of policy files, for editors: `python -m sandboxer.policy.schema` prints
policies/policy.schema.json.

What comes in: the model. What goes out: the schema. It says a little less than `parse` does: how paths and
names are spelt is for `check`.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from sandboxer.policy.keys import keys
from sandboxer.policy.model import Policy


def schema() -> str:
    """The schema's text, with a line end."""
    (reference,), definitions = msgspec.json.schema_components([Policy])
    for name, definition in definitions.items():
        _tidy(name, definition)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sandboxer policy",
        **reference,
        "$defs": definitions,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _tidy(name: str, definition: dict[str, Any]) -> None:
    """What msgspec can't know: items of lists can be taken away with "!"."""
    table = "" if name == "Policy" else f"{name.lower()}."
    for key, value in definition["properties"].items():
        known = keys().get(f"{table}{key}")
        if known is not None and known.choices and value.get("type") == "array":
            choices = [*known.choices, *(f"!{choice}" for choice in known.choices), "!*"]
            value["items"] = {"enum": choices}


if __name__ == "__main__":
    sys.stdout.write(schema())
