"""
What `sandbox explain` says, as text: read the files beside this one aloud.

After a change that is meant: UPDATE_GOLDEN=1 pytest tests/golden, and read the diff.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import machines
import pytest
from fakes import FakeHost

from sandboxer.cli.explain import explained
from sandboxer.cli.output import plain
from sandboxer.cli.request import Request

HERE = Path(__file__).parent
LINES = re.compile(r"(?<=\.toml):[0-9]+(-[0-9]+)?")
"""Line numbers of policies: a comment more is no change of what is said."""


@pytest.mark.parametrize(
    ("app", "session"),
    [
        ("firefox", machines.x11),
        ("firefox", machines.wayland),
        ("firefox", machines.machine),
        ("strict", machines.machine),
        ("foo", machines.x11),
        ("reader", machines.library),
    ],
)
def test_an_account_is_as_it_was_reviewed(app: str, session: Callable[[], FakeHost]) -> None:
    host = session()
    blocks, _ = explained(Request(words=("app", app), rest=(), policy=app), host)
    text = LINES.sub("", plain(blocks))
    golden = HERE / f"explain-{app}-{session.__name__}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert golden.read_text() == text
