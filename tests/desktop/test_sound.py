"""Sound out of a box: played inside, heard at the sound server."""

from __future__ import annotations

import array
import math
import wave
from pathlib import Path

from conftest import Box, need
from servers import running, sound_server

RATE = 48000
PITCH = 440
"""Hertz."""


def tone(path: Path, seconds: float) -> None:
    """A file with one pitch, half as loud as can be."""
    count = int(RATE * seconds)
    samples = array.array("h", (int(16000 * math.sin(2 * math.pi * PITCH * i / RATE)) for i in range(count)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())


def pitch_of(samples: array.array[int]) -> float:
    """Hertz of the loud part: how often it rises through zero."""
    loud = [i for i, sample in enumerate(samples) if abs(sample) > 8000]
    if not loud:
        return 0.0
    first, last = loud[0] + RATE // 10, loud[-1] - RATE // 10
    rises = sum(1 for i in range(first, last) if samples[i - 1] < 0 <= samples[i])
    return rises * RATE / max(last - first, 1)


def test_what_is_played_in_the_box_is_heard_outside(
    box: Box, session: dict[str, str], tmp_path: Path
) -> None:
    need("paplay")
    played, heard = tmp_path / "tone.wav", tmp_path / "heard.raw"
    tone(played, 1.5)
    settings = ["sound.playback=true", "sound.record=true", f'files.read=["{played}"]']
    recorder = [
        need("parec"),
        "-d",
        "out.monitor",
        "--raw",
        "--format=s16le",
        f"--rate={RATE}",
        "--channels=1",
    ]
    with (
        sound_server(tmp_path, session),
        heard.open("wb") as out,
        running([*recorder, "--latency-msec=50"], env=session, log=tmp_path / "parec.log", stdout=out),
    ):
        done = box("paplay", str(played), settings=settings)
        assert done.returncode == 0, done.stderr
    content = heard.read_bytes()
    samples = array.array("h", content[: len(content) // 2 * 2])
    assert abs(pitch_of(samples) - PITCH) < 5


def test_without_the_grant_no_sound_server_is_found(
    box: Box, session: dict[str, str], tmp_path: Path
) -> None:
    played = tmp_path / "tone.wav"
    tone(played, 0.1)
    with sound_server(tmp_path, session):
        done = box(need("paplay"), str(played), settings=[f'files.read=["{played}"]'])
    assert done.returncode != 0
    assert "Connection refused" in done.stderr
