"""A terminal in its box, at a real X server: what is typed runs inside."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from conftest import need
from desktop.conftest import Start
from pictures import drawn_by_lot, of_x_screen, wait_for
from servers import XServer, until

LARGE = 200 * 100


def type_into(window_class: str, text: str, env: Mapping[str, str], log: Path) -> None:
    """As a user at the keyboard: wait for the window, give it the focus, type a line."""
    tool = need("xdotool")
    windows: list[str] = []

    def there() -> bool:
        found = subprocess.run(
            [tool, "search", "--onlyvisible", "--class", window_class],
            env=dict(env),
            capture_output=True,
            text=True,
            check=False,
        )
        windows[:] = found.stdout.split()
        return bool(windows)

    until(there, f"a window of {window_class}", log)
    subprocess.run(
        [tool, "windowfocus", "--sync", windows[-1], "type", "--delay", "40", f"{text}\n"],
        env=dict(env),
        check=True,
        timeout=30,
    )


def test_xterm_shows_what_is_typed_into_it_and_its_home_is_its_own(
    x: XServer,
    start: Start,
    session: dict[str, str],
    private_home: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    need("xterm")
    home = Path(session["HOME"])
    (home / ".ssh").mkdir()
    (home / "letter.txt").write_text("outside")
    ((red, green, blue),) = colours = drawn_by_lot(1)
    inside = private_home("xterm")
    # The window takes the colour when, and only when, the shell finds its own home and not the user's.
    (inside / "look").write_text(
        "ls -A ~ >~/seen\n"
        "[ -e ~/look ] && ! [ -e ~/letter.txt ] && ! [ -e ~/.ssh ] &&\n"
        rf"printf '\033]11;rgb:{red:02x}/{green:02x}/{blue:02x}\007'"
        "\n"
    )
    kept = tmp_path / "xterm.png"
    with start("xterm") as log:
        type_into("xterm", ". ~/look", session, log)
        wait_for(lambda: of_x_screen(kept, session), colours, LARGE, kept, log)
    seen = (inside / "seen").read_text().split()
    assert "look" in seen
    assert "letter.txt" not in seen
    assert ".ssh" not in seen
