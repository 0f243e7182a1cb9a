"""What doctor says of real servers: an X server with its cookie and without, a compositor, a sound server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from conftest import need, run_to_end
from servers import XServer, sound_server, xauthority

OTHER = bytes(range(16))


def examined(sandbox: Path, session: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The findings by name."""
    done = run_to_end([sandbox, "doctor", "--json"], env=session, timeout_s=60)
    return {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_an_x_server_that_lets_us_in_is_fine(
    x: XServer, sandbox_program: Path, session: dict[str, str]
) -> None:
    found = examined(sandbox_program, session)
    assert ("fine", session["DISPLAY"]) == (found["x11"]["state"], found["x11"]["found"])
    assert "fine" == found["wayland"]["state"]


def test_a_wrong_cookie_is_told_from_an_absent_server(
    x: XServer, sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(xauthority(65535, b"", str(x.number), OTHER))
    session["XAUTHORITY"] = str(wrong)
    refused = examined(sandbox_program, session)["x11"]
    assert "degraded" == refused["state"]
    assert "cookie" in refused["cause"]
    session["DISPLAY"] = ":4711"
    absent = examined(sandbox_program, session)["x11"]
    assert "degraded" == absent["state"]
    assert "/tmp/.X11-unix/X4711: No such file or directory" == absent["found"]
    assert ":4711" in absent["cause"]


def test_a_compositor_is_asked_what_it_offers(
    wayland: None, sandbox_program: Path, session: dict[str, str]
) -> None:
    found = examined(sandbox_program, session)
    assert ("fine", session["WAYLAND_DISPLAY"]) == (found["wayland"]["state"], found["wayland"]["found"])
    asked = subprocess.run([need("wayland-info")], env=session, capture_output=True, text=True, check=True)
    assert "wl_compositor" in asked.stdout
    offered = (
        "wp_security_context_manager_v1" in asked.stdout
    )  # which compositors do changes with their versions
    context = found["wayland-security-context"]
    told = (
        "the compositor has it" if offered else "the compositor doesn't offer wp_security_context_manager_v1"
    )
    assert ("fine" if offered else "note", told) == (context["state"], context["found"])


def test_a_sound_server_that_answers_is_fine(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    with sound_server(tmp_path, session):
        assert "PulseAudio" == examined(sandbox_program, session)["sound"]["found"]
