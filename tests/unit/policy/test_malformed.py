"""
Policies that are wrong: each is refused with its file, its line, what is wrong, and what to write instead.

The table is the specification: what a person gets to read for each kind of mistake.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from sandboxer.errors import PolicyError
from sandboxer.policy.parse import parse, problems

FILE = "~/.config/sandboxer/apps/x.toml"


class Mistake(NamedTuple):
    """`line` is the line of the error, `says` is in its subject, `hint` in its hint."""

    name: str
    policy: str | bytes
    line: int
    says: str
    hint: str


MISTAKES = [
    # Not TOML.
    Mistake(
        "unquoted text",
        "[files]\nhome = private\n",
        2,
        "line 2, column 8: there is no value",
        "put text in quotes",
    ),
    Mistake("no value", "[files]\nhome =\n", 2, "there is no value", "put text in quotes"),
    Mistake("colon for equals", "[files]\n\nhome: private", 3, "expected = after a key", "KEY = VALUE"),
    Mistake(
        "unclosed list", "[files]\nread = [\n  '~/x'\nwrite = []\n", 4, "comma is missing", '["one", "two"]'
    ),
    Mistake("missing comma", "[files]\nread = ['~/x' '~/y']\n", 2, "comma is missing", '["one", "two"]'),
    Mistake(
        "unclosed table name", "\n[files\nhome = 'host'\n", 2, "a table's name isn't closed", "write [TABLE]"
    ),
    Mistake("unclosed text", 'summary = "x\n[files]\n', 1, "a text isn't closed", 'end the text with "'),
    Mistake(
        "unclosed text at the end", "[files]\nread = ['~/x", 2, "a text isn't closed", "add the missing quote"
    ),
    Mistake("key twice", "[files]\nhome = 'host'\nhome = 'private'\n\n", 3, "a key stands twice", "take one"),
    Mistake("table twice", "[files]\n[look]\n[files]\n", 3, "a table stands twice", "under one [table]"),
    Mistake("backslash", '\nsummary = "\\d"\n', 2, "a backslash", "single quotes"),
    Mistake("two on a line", "[files] home = 'host'\n", 1, "something follows", "on a line of its own"),
    Mistake("no key", "[files]\n= 1\n", 2, "expected KEY = VALUE", 'home = "private"'),
    Mistake("nested too deeply", "summary = " + "[" * 2000, 1, "nested too deeply", "none in another"),
    Mistake("absurd number", "summary = " + "1" * 5000, 1, "absurdly long", "no limit is so large"),
    Mistake(
        "not UTF-8",
        b"# ok\nsummary = '\xff'\n",
        2,
        "byte 17 (0xff) is no character",
        "save the file as UTF-8",
    ),
    Mistake("byte order mark", b"\xef\xbb\xbfsummary = 'x'\n", 1, "byte order mark", "without BOM"),
    Mistake("NUL byte", b"summary = 'x'\n\0", 2, "expected KEY = VALUE", 'home = "private"'),
    # Limits.
    Mistake(
        "size without unit", "[limits]\nmemory = '2G'\n", 2, "a size is a number and one of", 'write "2GiB"'
    ),
    Mistake(
        "size with a space", "[limits]\nmemory-high = '500 MB'\n", 2, "a size is a number", 'write "500MiB"'
    ),
    Mistake("no size at all", "[limits]\nmemory = 'lots'\n", 2, "a size is a number", '"2GiB"'),
    Mistake("tiny size", "[limits]\nmemory = '1KiB'\n", 2, "no program starts", '"500MiB"'),
    Mistake(
        "size as a number", "[limits]\nmemory = 5\n", 2, "expected text in quotes", 'for example, "2GiB"'
    ),
    Mistake("share without %", "[limits]\ncpu = '150'\n", 2, "whole number of percent", 'write "150%"'),
    Mistake("share of nothing", "[limits]\ncpu = '0%'\n", 2, "from 1% to", 'write "" for no limit'),
    Mistake("huge share", "[limits]\ncpu = '100001%'\n", 2, "from 1% to", "100% is all of one"),
    Mistake("share as a zero", "[limits]\ncpu = 0\n", 2, "expected text in quotes", 'write "" for no limit'),
    Mistake("share as a number", "[limits]\ncpu = 150\n", 2, "expected text in quotes", 'write "150%"'),
    Mistake("size of nothing", "[limits]\nmemory = '0'\n", 2, "with nothing", 'write "" for no limit'),
    Mistake(
        "tasks of nothing", "[limits]\ntasks = 0\n", 2, "whole number from 2 to 4194304", "limits.tasks = 100"
    ),
    Mistake(
        "tasks for the first process alone",
        "[limits]\ntasks = 1\n",
        2,
        "limits.tasks = 1: expected a whole number from 2 to 4194304: the box's own first process is one of them",
        "limits.tasks = 100",
    ),
    Mistake(
        "tasks in quotes",
        "[limits]\ntasks = '50'\n",
        2,
        "a whole number",
        "limits.tasks = 50, without quotes",
    ),
    Mistake("heavy weight", "[limits]\nio-weight = 10001\n", 2, "from 0 to 10000", "limits.io-weight"),
    Mistake(
        "limit as a word", "[limits]\nno-new-files = 'yes'\n", 2, "true or false", "true, without quotes"
    ),
    # Unknown names.
    Mistake("misspelt key", "[files]\nraed = []\n", 2, '[files] has no key "raed"', "write files.read"),
    Mistake("misspelt table", "\n\n[file]\nread = []\n", 3, 'a policy has no table "file"', "write [files]"),
    Mistake(
        "underscore",
        "[files]\nworking_directory = 'read'\n",
        2,
        '"working_directory"',
        "files.working-directory",
    ),
    Mistake("key without its table", "home = 'private'\n", 1, 'no key "home"', "write files.home"),
    Mistake(
        "key in another table",
        "[display]\nplayback = true\n",
        2,
        "[display] has no key",
        "write sound.playback",
    ),
    Mistake(
        "top key in a table",
        "[files]\nextends = ['gui']\n",
        2,
        '[files] has no key "extends"',
        "write extends",
    ),
    Mistake(
        "dotted unknown key",
        "network.acces = 'host'\n",
        1,
        '[network] has no key "acces"',
        "write network.access",
    ),
    Mistake("key of another program", "[sound]\nzzzz = 1\n", 2, '"zzzz"', "known here: playback, record"),
    Mistake("inline unknown key", "files = { home = 'host', reed = [] }\n", 1, '"reed"', "write files.read"),
    # The wrong kind.
    Mistake(
        "number for a switch",
        "[look]\nfonts = 1\n",
        2,
        "look.fonts = 1: expected true or false",
        "fonts = true",
    ),
    Mistake(
        "quoted switch",
        "[display]\nwayland = 'true'\n",
        2,
        'expected true, false, "if-present" or "one-connection"',
        "wayland = true",
    ),
    Mistake(
        "near word", "[display]\nwayland = 'if_present'\n", 2, "display.wayland", 'wayland = "if-present"'
    ),
    Mistake(
        "word of another key",
        "[display]\nx11 = 'if-present'\n",
        2,
        'true, false or "fallback"',
        "display.x11 = true",
    ),
    Mistake(
        "switch for a word", "[network]\naccess = true\n", 2, 'expected "host" or "none"', 'access = "host"'
    ),
    Mistake(
        "unknown word", "[files]\nhome = 'tmp'\n", 2, '"ephemeral", "host" or "private"', "write files.home ="
    ),
    Mistake(
        "text for a list",
        "[files]\nread = '~/x'\n",
        2,
        "expected a list of texts",
        'write files.read = ["~/x"]',
    ),
    Mistake(
        "list for a word", "[files]\nhome = ['private']\n", 2, "files.home", '"private", without brackets'
    ),
    Mistake(
        "number in a list",
        "[files]\nread = [\n'~/x',\n3]\n",
        4,
        "files.read: item 2 is 3: expected text",
        'write "3"',
    ),
    Mistake(
        "list in a list", "[files]\nread = ['~/x',\n['~/y']]\n", 3, 'item 2 is ["~/y"]', "with no list in it"
    ),
    Mistake("unknown service", "[broker]\nconnect = ['wayland',\n'pulse']\n", 3, '"pulse"', '"pulseaudio"'),
    Mistake("unknown service taken away", "[broker]\nconnect = ['!dbus']\n", 2, '"!dbus"', "take it out"),
    Mistake(
        "home to the broker", "[broker]\nread = ['~']\n", 2, "the home as a whole", "name the directories"
    ),
    Mistake(
        "devices to the broker", "[broker]\nread = ['/dev/null']\n", 2, "nothing of /dev", "leave it out"
    ),
    Mistake(
        "relative path to the broker", "[broker]\nlist = ['papers']\n", 2, "a path begins with", '"~/papers"'
    ),
    Mistake("link with colon", "[broker]\nlinks = ['https://']\n", 2, "before the colon", 'write "https"'),
    Mistake("capital scheme", "[broker]\nlinks = ['HTTPS']\n", 2, "in small letters", 'write "https"'),
    Mistake("scheme of a number", "[broker]\nlinks = ['9p']\n", 2, "begins with a letter", '"https"'),
    Mistake("links to files", "[broker]\nlinks = ['file']\n", 2, "whatever it names", "take it out"),
    Mistake("links to programs", "[broker]\nlinks = ['javascript']\n", 2, "it is a program", "take it out"),
    Mistake(
        "ending for a type", "[broker]\npresents = ['pdf']\n", 2, "no type of files", '"application/pdf"'
    ),
    Mistake("all types", "[broker]\npresents = ['*/*']\n", 2, "no type of files", '"image/*"'),
    Mistake(
        "all programs", "[broker]\npresents = ['application/*']\n", 2, "programs and scripts", "each type"
    ),
    Mistake(
        "starters", "[broker]\npresents = ['application/x-desktop']\n", 2, "it starts programs", "take it out"
    ),
    Mistake("no such family", "[broker]\npresents = ['picture/png']\n", 2, "begins with picture/", "image"),
    Mistake("star in a type", "[broker]\npresents = ['image/p*']\n", 2, "small letters", '"image/*"'),
    Mistake(
        "short fingerprint", "[broker]\nssh-agent-keys = ['SHA256:abc']\n", 2, "43 letters", "ssh-add -l"
    ),
    Mistake("old fingerprint", "[broker]\nssh-agent-keys = ['MD5:aa:bb']\n", 2, "can be forged", "SHA256:"),
    Mistake("key by file", "[broker]\nssh-agent-keys = ['~/.ssh/id']\n", 2, "it is a file", "ssh-add -l"),
    Mistake(
        "list for a switch", "[broker]\ndescriptor = []\n", 2, "expected true or false", "descriptor = true"
    ),
    Mistake("unknown ABI", "[syscalls]\nforeign = ['i386',\n'x64']\n", 3, 'expected "i386" or "x32"', "x32"),
    Mistake("unknown ABI taken away", "[syscalls]\nforeign = ['!arm']\n", 2, '"!arm"', "take it out"),
    Mistake("list of tables", "[[files]]\nhome = 'host'\n", 1, "expected a table", "write [files] once"),
    Mistake("value for a table", "network = 'host'\n", 1, "expected a table", "such as network.access"),
    Mistake(
        "number for a variable", "[environment.set]\nA = '1'\nB = 2\n", 3, "B = 2: expected text", 'B = "2"'
    ),
    Mistake(
        "list for variables",
        "[environment]\nset = ['A=1']\n",
        2,
        "expected a table of texts",
        "environment.set =",
    ),
    Mistake("date", "summary = 2026-11-21\n", 1, "expected text in quotes", 'summary = "2026-11-21"'),
    # Paths.
    Mistake("empty path", "[files]\nread = [\n'']\n", 3, "it is empty", "take the empty text out"),
    Mistake("path with ..", "[files]\nread = ['~/../bob']\n", 2, '".." could lead anywhere', "without it"),
    Mistake("NUL in a path", '[files]\nread = ["~/a\\u0000b"]\n', 2, "NUL", ""),
    Mistake("line break in a path", '[files]\nread = ["~/a\\nb"]\n', 2, "a line break", ""),
    Mistake("relative path", "[files]\nwrite = ['x/y']\n", 2, "a path begins with ~/, with /", '"~/x/y"'),
    Mistake(
        "XDG name in small letters", "[files]\nwrite = ['downloads/a']\n", 2, "XDG name", '"Downloads/a"'
    ),
    Mistake("XDG name misspelt", "[files]\nwrite = ['Dokuments']\n", 2, "XDG name", 'write "Documents"'),
    Mistake("variable in a path", "[files]\nread = ['$HOME/x']\n", 2, "variables have no meaning", "~/name"),
    Mistake("address", "[files]\nread = ['file:///x']\n", 2, "an address", 'without "file://"'),
    Mistake("whole home", "[files]\nread = ['~/']\n", 2, "the home as a whole", 'files.home = "host"'),
    Mistake("other home", "[files]\nread = ['~bob/x']\n", 2, "another user's home", "absolute path"),
    Mistake("root", "[files]\nread = ['/']\n", 2, "the root is always", "name what is needed"),
    Mistake("device", "[files]\nwrite = ['/dev/dri']\n", 2, "/dev is made anew", "devices.gpu"),
    Mistake("/proc", "[files]\nread = ['?/proc/cpuinfo']\n", 2, "/proc is made anew", "leave it out"),
    Mistake(
        "recursive glob", "[files]\nread = ['~/a/**/b']\n", 2, "** has no meaning", "write the directory"
    ),
    Mistake("? before !", "[files]\nread = ['?!~/x']\n", 2, '"!" goes before "?"', '"!~/x"'),
    Mistake("! alone", "[files]\nread = ['!']\n", 2, "goes what to take away", '"!*"'),
    Mistake("? alone", "[files]\nread = ['?']\n", 2, "goes a path", '"?~/name"'),
    Mistake("home in system", "[files]\nsystem = ['~/x']\n", 2, "begins with /", "files.read"),
    Mistake("double slash", "[files]\nread = ['~/a//b']\n", 2, '"//"', "without it"),
    # Names.
    Mistake("set by its file", "extends = ['sets/gui.toml']\n", 1, "not by its file", 'write "gui"'),
    Mistake("set without a name", "extends = ['gui',\n'']\n", 2, "it is empty", "take the empty text out"),
    Mistake("set with a bad name", "extends = ['.gui']\n", 1, "a name has only letters", ""),
    Mistake("command with words", "command = ['firefox -P x']\n", 1, "alternatives", 'arguments = ["-P x"]'),
    Mistake("command by relative path", "command = ['bin/x']\n", 1, "absolute path", '"x"'),
    Mistake("option as command", "command = ['--x']\n", 1, "begin with -", "under arguments"),
    Mistake("value in keep", "[environment]\nkeep = ['A=1']\n", 2, "has no =", 'environment.set.A = "1"'),
    Mistake("all variables", "[environment]\nkeep = ['*']\n", 2, "can't be kept", "name those"),
    Mistake("variable with a dash", "[environment]\nkeep = ['A-B']\n", 2, "only letters, digits and _", ""),
    Mistake("bad name in set", "[environment.set]\n'A B' = 'x'\n", 2, "only letters, digits and _", ""),
    Mistake("= in set", "[environment.set]\n'A=B' = 'x'\n", 2, "has no =", "environment.set.A"),
    Mistake("NUL in a variable", '[environment.set]\n\nA = "\\u0000"\n', 3, "NUL", ""),
    Mistake("call in capitals", "[syscalls]\ndeny = ['PTRACE']\n", 2, "small letters", '"openat"'),
    Mistake("group without name", "[syscalls]\nallow = ['@']\n", 2, "small letters", '"@mount"'),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name.replace(" ", "-") for mistake in MISTAKES])
def test_a_mistake_is_told_with_its_line_and_what_to_write(mistake: Mistake) -> None:
    content = mistake.policy if isinstance(mistake.policy, bytes) else mistake.policy.encode()
    with pytest.raises(PolicyError) as caught:
        parse(content, FILE)
    error = caught.value
    assert error.origin is not None
    assert (FILE, mistake.line) == (error.origin.file, error.origin.line)
    assert mistake.says in error.subject
    assert mistake.hint in error.hint
    assert str(error) == str(problems(content, FILE)[0])


def test_the_table_is_long_enough() -> None:
    assert len(MISTAKES) >= 35
    assert len(MISTAKES) == len({mistake.name for mistake in MISTAKES})


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name.replace(" ", "-") for mistake in MISTAKES])
def test_no_message_speaks_of_python_or_of_libraries(mistake: Mistake) -> None:
    content = mistake.policy if isinstance(mistake.policy, bytes) else mistake.policy.encode()
    message = problems(content, FILE)[0].render("x").lower()
    for word in (
        "`",
        "$.",
        "msgspec",
        "tomllib",
        "object",
        "array",
        "str ",
        "none,",
        "tuple",
        "struct",
        "literal",
    ):
        assert word not in message


def test_the_whole_message_reads_well() -> None:
    (error,) = problems(b'[files]\nread = [\n  "~/x",\n  "downloads",\n]\n', FILE)
    assert (
        "sandboxer: x: a policy has a text that can't be right\n"
        '  "downloads": a path begins with ~/, with / or with an XDG name\n'
        "  asked for by ~/.config/sandboxer/apps/x.toml:4 files.read\n"
        '  try: write "Downloads"'
    ) == error.render("x")


def test_a_linter_gets_all_problems_by_line() -> None:
    policy = b'sumary = "x"\n[files]\nhome = 3\nread = ["x", 4]\n[look]\nfont = true\n'
    assert [1, 3, 4, 4, 6] == [error.origin.line for error in problems(policy, FILE) if error.origin]
