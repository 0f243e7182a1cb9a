"""Boxes by the hundred, one after the other, as from a loop in a shell of a login session."""

from __future__ import annotations

import pytest
from boxes import PlannedBox
from stepping import KEYCTL

LOGIN = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(int(sys.argv[1]), 1, None, 0, 0, 0) > 0  # a session keyring of its own, as pam_keyinit makes
os.execv("/bin/sh", ["sh", "-c", sys.argv[2], "sh", *sys.argv[3:]])
"""
LOOP = """
loop() { i=0; while [ $i -lt 300 ]; do "$@" || exit; i=$((i + 1)); done; }
loop "$@" & first=$!
loop "$@" && wait $first
"""


@pytest.mark.timeout(60)
def test_hundreds_of_boxes_in_a_row_start_in_a_login_session(planned_box: PlannedBox) -> None:
    words = planned_box.plan("/bin/true")
    done = planned_box.run(["python3", "-c", LOGIN, str(KEYCTL), LOOP, *words])
    assert "" == done.stderr
    assert 0 == done.returncode
