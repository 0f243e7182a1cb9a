"""Misspelt verbs, options and actions: what was meant is said, once."""

from __future__ import annotations

from importlib import import_module

import pytest
from machines import effective, machine

from sandboxer.cli import launch, main
from sandboxer.errors import UsageError
from sandboxer.policy.model import Policy
from sandboxer.resolve import resolve


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str) -> str:
    """What the user reads after `sandbox WORD` on a machine that has neither such a program nor such a policy."""

    def fail(*_words: object) -> None:
        resolve(effective(Policy(), word, found=False), machine())

    monkeypatch.setattr(launch, "launch", fail)
    monkeypatch.setattr("sys.argv", ["sandboxer", word, "firefox"])
    assert 125 == main.main()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("instal", "did you mean `sandbox install`?"),
        ("pss", "did you mean `sandbox ps`?"),
        ("doctr", "did you mean `sandbox doctor`?"),
        ("freze", "did you mean `sandbox freeze`?"),
        ("completion", "shell completion comes with: sandbox install --extras"),
        ("nosuchthing", "install it, or start another program: sandbox run -- COMMAND"),
    ],
)
def test_a_word_that_may_be_a_verb_is_answered_with_it_and_named_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str, meant: str
) -> None:
    text = said(monkeypatch, capsys, word)
    assert text.startswith(f"sandboxer: {word} isn't installed, and no policy has its name\n  not found in ")
    assert text.endswith(f"\n  try: {meant}\n")


@pytest.mark.parametrize(
    ("words", "subject", "hint"),
    [
        (["unit", "instal"], "instal is none of install, remove", "did you mean install?"),
        (["unit", "wrap", "a", "--polcy", "x"], "there is no option --polcy", "did you mean --policy?"),
        (["unit", "wrap", "a", "--xyz"], "there is no option --xyz", "sandbox unit wrap --help"),
        (["unit", "wrap", "a", "b"], "too many words: b", "sandbox unit wrap --help"),
        (["install", "--jsn"], "there is no option --jsn", "did you mean --json?"),
        (["explain", "foo", "--jsn=1"], "there is no option --jsn=1", "did you mean --json?"),
        (["install", "--srve"], "there is no option --srve", "sandbox install --help"),
    ],
)
def test_a_misspelt_option_or_action_is_answered_by_the_one_that_knows_it(
    words: list[str], subject: str, hint: str
) -> None:
    with pytest.raises(UsageError, match="cannot understand the command line") as caught:
        import_module(f"sandboxer.cli.{words[0]}").main(words[1:])
    assert caught.value.subject.startswith(subject)
    assert hint == caught.value.hint
