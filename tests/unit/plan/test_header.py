"""The C header is what plan/ops.py says."""

from __future__ import annotations

from pathlib import Path

from sandboxer.plan import ops
from sandboxer.plan.header import ENUMS, render

HEADER = Path(__file__).parents[3] / "launchers" / "ops.h"


def test_the_header_in_the_tree_is_fresh() -> None:
    assert render() == HEADER.read_text(), "python -m sandboxer.plan.header > launchers/ops.h"


def test_every_enum_of_the_vocabulary_is_in_the_header() -> None:
    mine = {
        kind
        for kind in vars(ops).values()
        if isinstance(kind, type) and issubclass(kind, int) and kind.__module__ == ops.__name__
    }
    assert mine == {kind for kind, _, _ in ENUMS}


def test_a_comment_cannot_end_early() -> None:
    text = render()
    assert text.count("/*") == text.count("*/")
