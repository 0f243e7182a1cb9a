"""
Attack: in a granted directory, move a directory that lies on the way to a hidden one, and make an empty one in its
place. At the next start the cover would lie on that, and the secret be readable where it was moved to.
"""

from __future__ import annotations

from pathlib import Path

from conftest import Box

MOVE = "mv {top}/a {top}/x && mkdir -p {top}/a/taxes && echo moved"
READ = "cat {top}/x/taxes/secret {top}/a/taxes/secret"


def test_a_cover_is_where_it_was_at_the_next_start(box: Box, session: dict[str, str]) -> None:
    top = Path(session["HOME"]) / "work"
    taxes = top / "a" / "taxes"
    taxes.mkdir(parents=True)
    (taxes / "secret").write_text("secret")
    grants = ('files.write=["~/work"]', 'files.hide=["~/work/a/taxes"]')
    first = box("sh", "-c", MOVE.format(top=top), settings=grants)
    assert ("", True) == (first.stdout, "busy" in first.stderr.lower()), first
    assert "" == box("sh", "-c", READ.format(top=top), settings=grants).stdout
    # Without the hidden directory the same command does move it: it is the mount on the way that refuses.
    assert "moved\n" == box("sh", "-c", MOVE.format(top=top), settings=grants[:1]).stdout


def test_what_is_read_only_in_a_writable_place_stays_so(box: Box, session: dict[str, str]) -> None:
    top = Path(session["HOME"]) / "work"
    (top / "a" / "taxes").mkdir(parents=True)
    grants = ('files.write=["~/work"]', 'files.read=["~/work/a/taxes"]')
    assert "" == box("sh", "-c", MOVE.format(top=top), settings=grants).stdout
    assert "" == box("sh", "-c", f"echo changed >{top}/a/taxes/new && echo written", settings=grants).stdout


def test_everything_else_beside_it_can_still_be_changed(box: Box, session: dict[str, str]) -> None:
    top = Path(session["HOME"]) / "work"
    (top / "a" / "taxes").mkdir(parents=True)
    grants = ('files.write=["~/work"]', 'files.hide=["~/work/a/taxes"]')
    script = (
        f"echo new >{top}/a/file && mv {top}/a/file {top}/file && rm {top}/file && mkdir {top}/b && echo done"
    )
    assert "done\n" == box("sh", "-c", script, settings=grants).stdout
