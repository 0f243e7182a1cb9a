"""`sandbox firefox`, typed again: the words go to the Firefox that runs, in its box, and nothing starts beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import need, run_to_end
from desktop.conftest import Start, Verb
from pictures import drawn_by_lot, of_x_screen, pdf_of, wait_for
from servers import XServer

pytestmark = pytest.mark.timeout(240)
LARGE = 100 * 100


def test_a_second_start_opens_its_document_in_the_first(
    x: XServer,
    session: dict[str, str],
    start: Start,
    verb: Verb,
    home: Path,
    tmp_path: Path,
    sandbox_program: Path,
) -> None:
    need("firefox", "firefox-esr")
    need("dbus-daemon")
    documents = home / "Documents"
    documents.mkdir()
    first, second = drawn_by_lot(3), drawn_by_lot(3)
    (documents / "first.pdf").write_bytes(pdf_of(first))
    (documents / "second.pdf").write_bytes(pdf_of(second))
    kept = tmp_path / "first.png", tmp_path / "second.png"
    with start("firefox", documents / "first.pdf") as log:
        wait_for(lambda: of_x_screen(kept[0], session), first, LARGE, kept[0], log)
        ended = run_to_end([sandbox_program, "firefox", documents / "second.pdf"], env=session, timeout_s=60)
        assert 0 == ended.returncode, ended.stderr
        wait_for(lambda: of_x_screen(kept[1], session), second, LARGE, kept[1], log)
        (box,) = json.loads(verb("ps", "--json").stdout)["boxes"]
        assert "firefox" == box["application"]
