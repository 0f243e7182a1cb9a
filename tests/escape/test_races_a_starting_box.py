"""
Attack: while a box of the same application is being built, exchange a directory of the kept home with a decoy.

The first box runs without the grant, so that ~/Downloads is a plain directory of the kept home there. In the second,
the grant would be mounted on one of the two directories, and the cover of what is hidden in it on the other.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from escape.conftest import PYTHON, Boxed

HOME = 'files.home="private"'
GRANTED = [HOME, 'files.read=["~/Downloads"]', 'files.hide=["~/Downloads/private"]']
STARTS = 150
EXCHANGE = """
import ctypes, os
home = os.environ["HOME"]
for name in ("Downloads", "decoy"):
    os.makedirs(f"{home}/{name}/private", exist_ok=True)
libc = ctypes.CDLL(None)
paths = [f"{home}/{name}".encode() for name in ("Downloads", "decoy")]
print(flush=True)
while True:
    libc.renameat2(-100, paths[0], -100, paths[1], 2)
"""


def test_what_is_hidden_stays_hidden_while_the_home_changes(
    boxed: Boxed, session: dict[str, str], home: Path
) -> None:
    key = home / "Downloads" / "private" / "key"
    key.parent.mkdir(parents=True)
    key.write_text("hidden")
    look = ["sh", "-c", 'cat "$HOME"/*/private/key; true']
    outside = subprocess.run(look, env=session, capture_output=True, text=True, check=True)
    assert outside.stdout == "hidden"
    racing = boxed(PYTHON, "-c", EXCHANGE, settings=[HOME])
    with subprocess.Popen(racing, env=session, stdout=subprocess.PIPE, process_group=0) as racer:
        assert racer.stdout is not None
        racer.stdout.readline()
        try:
            for _ in range(STARTS):
                words = boxed(*look, settings=GRANTED)
                done = subprocess.run(words, env=session, capture_output=True, text=True, check=False)
                assert "hidden" not in done.stdout, done.stderr
        finally:
            racer.kill()
