"""`explain --plan` tells what the launcher's decoder reads."""

from __future__ import annotations

import json

import machines

from sandboxer.cli import explain
from sandboxer.cli.output import plain
from sandboxer.cli.request import Request

FIREFOX = Request(words=("app", "firefox"), rest=(), policy="firefox")


def test_every_operation_is_told_with_the_line_that_asked() -> None:
    blocks, values = explain.planned(FIREFOX, machines.x11())
    text = plain(blocks)
    operations = values["operations"]
    assert isinstance(operations, list)
    assert len(operations) > 40
    for operation in operations:
        assert operation["box-path"] in text
        assert f"[{operation['origin']}]" in text
    assert "  flags    nested-namespaces, " in text


def test_json_is_whole() -> None:
    values = json.loads(json.dumps(explain.planned(FIREFOX, machines.x11())[1]))
    assert "firefox" == values["application"]
    assert ["app", "firefox"] == values["request"]
    assert "nested-namespaces" in values["flags"]
    assert values["environment"]
    assert values["stamps"]


def test_the_cookie_is_not_printed() -> None:
    cookie = b"\1" * 16
    blocks, values = explain.planned(FIREFOX, machines.x11())
    operations = values["operations"]
    assert isinstance(operations, list)
    assert any(operation["box-path"].endswith("/Xauthority") for operation in operations)
    for text in (plain(blocks), json.dumps(values)):
        assert cookie.decode() not in text
        assert cookie.hex() not in text
        assert "\\u0001" not in text
