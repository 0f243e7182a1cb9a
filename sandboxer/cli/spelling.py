"""
What a word was meant to be that isn't known: a verb, an option, an action.

What comes in: the word, and those that there are. What goes out: a hint in one line, "" where nothing comes close. It
is only ever imported once something is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandboxer.policy.layers import nearest

CLOSE = 0.7
ELSEWHERE = {
    "completion": "shell completion comes with: sandbox install --extras",
    "completions": "shell completion comes with: sandbox install --extras",
    "stop": "to end a box: sandbox kill APP",
    "uninstall": "to take away what `sandbox install` wrote: sandbox install --undo",
}
"""Verbs of other programs → where it is here."""


def verb_hint(word: str, verbs: Sequence[str]) -> str:
    """What to do where no program and no policy has this name."""
    if word in ELSEWHERE:
        return ELSEWHERE[word]
    near = nearest(word, verbs, cutoff=CLOSE)
    return f"did you mean `sandbox {near}`?" if near else ""


def word_hint(word: str, known: Sequence[str]) -> str:
    """Which option or action it was."""
    near = nearest(word.partition("=")[0], known, cutoff=CLOSE)
    return f"did you mean {near}?" if near else ""
