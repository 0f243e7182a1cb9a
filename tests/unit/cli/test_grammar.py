"""The command line as data is the command line that the verbs parse."""

from __future__ import annotations

import pytest

from sandboxer.cli import grammar, main
from sandboxer.cli.grammar import Kind, Verb
from sandboxer.cli.request import TAKES_VALUE, run_request

VERBS = grammar.verbs()
ALL = grammar.with_parts(VERBS)


def named(name: str) -> Verb:
    return next(verb for verb in ALL if verb.name == name)


def test_every_verb_is_there_once() -> None:
    assert ("run", *main.VERBS) == tuple(verb.name for verb in VERBS)


@pytest.mark.parametrize("verb", ALL, ids=lambda verb: verb.name)
def test_what_each_word_is_can_be_told(verb: Verb) -> None:
    words = [(word.metavar, word.choices) for word in verb.options]
    words += [(word.metavar, word.choices) for word in verb.operands]
    for metavar, choices in words:
        assert choices or metavar in ("", *grammar.KINDS), f"{verb.name}: add {metavar} to grammar.KINDS"


@pytest.mark.parametrize("verb", ALL, ids=lambda verb: verb.name)
def test_each_says_what_it_does_and_what_its_words_mean(verb: Verb) -> None:
    assert verb.does
    if " " not in verb.name:
        assert all(line.strip().startswith("sandbox ") for line in verb.examples.splitlines() if line.strip())
    assert [] == [option.names for option in verb.options if not option.help]


def test_the_options_of_run_are_those_that_it_takes() -> None:
    options = {option.names[-1]: option for option in named("run").options}
    assert {*TAKES_VALUE, "--die-with-parent", "--help"} == set(options)
    assert set(TAKES_VALUE) == {name for name, option in options.items() if option.metavar}


def test_the_examples_of_run_are_taken_by_it() -> None:
    for line in named("run").examples.splitlines():
        run_request(line.split()[1:], debug=False)


def test_a_verb_may_know_more_of_a_word_than_its_metavar_says() -> None:
    assert Kind.CHECKED is named("check").operands[0].kind
    assert Kind.POLICY is named("explain").operands[0].kind
    assert Kind.APPLICATION is named("open").operands[0].kind
    assert named("open").operands[1].many
