"""
`sandbox unit control`: a command of a wrapped unit that belongs into the box of its main process.

What comes in: MAINPID, as systemd gives it to ExecReload=, ExecStop= and ExecStartPost=, the options of `sandbox run`,
and the command. What goes out: the command's status, after it ran in the box; where there is no main process, this
becomes `sandbox run` with a box of its own. It is what drop-ins of `sandbox unit wrap` call, and nobody else.
"""

from __future__ import annotations

import os
import time

from sandboxer.cli import attached, launcher
from sandboxer.cli.request import run_request
from sandboxer.desktop.units.commands import MAIN_PID
from sandboxer.errors import StewardError
from sandboxer.host import session
from sandboxer.steward import boxes
from sandboxer.steward.boxes import Box
from sandboxer.steward.control import Exec

TOLD = ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")
ENDS = "--ends"
"""Before the options, for ExecStop=: the command may end the service, and so the box that it runs in."""
ENDED_WITHIN_S = 2.0
PAUSE_S = 0.02
BEGINS_WITHIN_S = 60.0
ENV = "/usr/bin/env"


def main(argv: list[str]) -> int:
    """Run it. Returns its exit status. Raises SandboxerError."""
    ends = argv[:1] == [ENDS]
    words = ["run", *argv[ends:]]
    request = run_request(words, debug=False)
    here = session.current()
    directory = boxes.boxes_directory(here)
    box = _box_of(here.environment.get("MAINPID", ""), directory)
    if box is None:
        launcher.become(words)
    command = request.rest[request.rest.index("--") + 1 :]
    told = [f"{name}={here.environment[name]}" for name in TOLD if name in here.environment]
    try:
        return attached.run(box, Exec(words=(ENV, f"MAINPID={MAIN_PID}", *told, *command), directory=""))
    except StewardError:
        if ends and not _runs(box, directory):
            return 0  # it was to end the service, and was in the box that ended with it
        raise


def _runs(box: Box, directory: str) -> bool:
    """Whether a box is still there after some moments, in which one that ends would be gone."""
    end = time.monotonic() + ENDED_WITHIN_S
    while any(other.id == box.id for other in boxes.running(directory)):
        if time.monotonic() > end:
            return True
        time.sleep(PAUSE_S)
    return False


def _box_of(pid: str, directory: str) -> Box | None:
    """
    The box of the main process, once it is there; None when there is no such process.

    Raises:
        StewardError: the process has no box, nor makes one.
    """
    end = time.monotonic() + BEGINS_WITHIN_S
    while pid.isascii() and pid.isdigit() and os.path.exists(f"/proc/{pid}"):
        for box in boxes.running(directory):
            if str(box.monitor) == pid:
                return box
        if time.monotonic() > end:
            raise StewardError("the unit's main process has no box", subject=f"process {pid}")
        time.sleep(PAUSE_S)
    return None
