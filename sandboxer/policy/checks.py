"""
What types can't say of a policy's texts: how paths, names and variables are spelt.

What comes in: a key and one text of it. What goes out: what is wrong and what to do, or None. It never looks
at the machine: whether a path exists is for `resolve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandboxer.policy.amounts import UNITS, percent, size
from sandboxer.words import Record

if TYPE_CHECKING:
    from collections.abc import Callable

XDG_NAMES = ("Desktop", "Documents", "Downloads", "Music", "Pictures", "Public", "Templates", "Videos")
"""Directories that `files` names in English, wherever user-dirs.dirs has them."""

PATH_LENGTH_MAX = 4000
NAME_LENGTH_MAX = 64
SHORTENED_MIN = 3
"""Letters from which "Doc" is taken for a short Documents."""

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NAME = frozenset(_LETTERS + "0123456789._+-")
_VARIABLE = frozenset(_LETTERS + "0123456789_")
_SYSCALL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+.-")
_TYPE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$&^_+.-")
_BASE64 = frozenset(_LETTERS + "0123456789+/")
BROKERED = (
    "read",
    "write",
    "append",
    "create",
    "stat",
    "access",
    "readlink",
    "list",
    "mkdir",
    "rename",
    "unlink",
    "watch",
)
"""Keys of `[broker]` that hold paths."""
_PATHS = frozenset(
    {
        "files.read",
        "files.write",
        "files.own",
        "files.hide",
        "files.system",
        *(f"broker.{key}" for key in BROKERED),
    }
)
FINGERPRINT = "SHA256:"
FINGERPRINT_LETTERS = 43
"""Base64 of 32 bytes, without padding. Source: ssh-keygen(1)."""
MEMORY_MIN = 4 << 20
"""Bytes, less than which no program starts with."""
CPU_MIN, CPU_MAX = 1, 100_000
NO_LIMIT = 'write "" for no limit'
FAMILIES = ("application", "audio", "font", "image", "model", "text", "video")
"""What a type of files may begin with. Source: IANA's registry, less what are no files."""
NEVER_LINKS = {
    "file": "a link to a file would open whatever it names: permit types of files with broker.presents",
    "javascript": "it is a program, not a link",
    "data": "it is a document made by the application, not a link",
    "vbscript": "it is a program, not a link",
    "about": "it steers the program that opens it",
    "admin": "it opens files as root",
}
"""Schemes that no policy may permit."""
NEVER_TYPES = frozenset(
    {
        "application/x-desktop",
        "application/x-executable",
        "application/x-pie-executable",
        "application/x-sharedlib",
        "application/x-shellscript",
        "application/vnd.appimage",
        "application/java-archive",
        "application/x-ms-dos-executable",
        "application/x-msdownload",
        "application/vnd.microsoft.portable-executable",
    }
)
"""Types that no policy may name. Source: shared-mime-info."""


class Complaint(Record):
    """`wrong` completes "TEXT: ..."; `hint` is what to do, in the imperative."""

    wrong: str
    hint: str = ""


def check(key: str, text: str) -> Complaint | None:
    """One text of the dotted key, as written: with "!" or "?" before it, where it has them."""
    if not text.isprintable():
        if "\0" in text:
            return Complaint(wrong="it holds a NUL character")
        if key not in ("arguments", "environment.set"):
            return Complaint(wrong="it holds a line break or another character that can't be seen")
    if key in _PATHS:
        return _check_listed(text, lambda path: _check_path(key, path))
    if key == "extends":
        return _check_listed(text, _check_set_name)
    if key == "command":
        return _check_listed(text, _check_program)
    if key == "files.working-directory-top" and ("/" in text or text in (".", "..")):
        return Complaint(wrong="it is a path", hint='write the name alone, such as ".git"')
    if key == "environment.keep":
        return _check_listed(text, _check_kept_variable)
    if key in ("syscalls.deny", "syscalls.allow"):
        return _check_listed(text, _check_syscall)
    if key in ("limits.memory", "limits.memory-high"):
        return _check_size(text) if text else None
    if key == "limits.cpu":
        return _check_share(text) if text else None
    rules = {
        "broker.links": _check_scheme,
        "broker.presents": _check_type,
        "broker.ssh-agent-keys": _check_key,
    }
    return _check_listed(text, rules[key]) if key in rules else None


def check_name(name: str) -> Complaint | None:
    """The name of an application or a set: a file name without tricks."""
    if not name:
        return Complaint(wrong="the name is empty")
    if name[0] in ".-" or not _NAME.issuperset(name):
        return Complaint(wrong="a name has only letters, digits and . _ + -, and begins with neither . nor -")
    if len(name) > NAME_LENGTH_MAX:
        return Complaint(wrong=f"a name has at most {NAME_LENGTH_MAX} characters")
    return None


def check_variable(name: str) -> Complaint | None:
    """The name of an environment variable, in full."""
    if not name:
        return Complaint(wrong="the name is empty")
    if "=" in name:
        bare, _, value = name.partition("=")
        return Complaint(
            wrong="a variable's name has no =",
            hint=f'write environment.set.{bare} = "{value}" to give it a value',
        )
    if not _VARIABLE.issuperset(name) or name[0].isdigit():
        return Complaint(wrong="a variable's name has only letters, digits and _, and begins with no digit")
    return None


def _check_listed(text: str, rule: Callable[[str], Complaint | None]) -> Complaint | None:
    if text.startswith("!"):
        text = text[1:]
        if text == "*":
            return None
        if not text:
            return Complaint(wrong='after "!" goes what to take away', hint='write "!*" to take away all')
    if not text:
        return Complaint(wrong="it is empty", hint="take the empty text out")
    return rule(text)


def _check_path(key: str, text: str) -> Complaint | None:
    path = text.removeprefix("?")
    if path.startswith("!"):
        return Complaint(wrong='"!" goes before "?"', hint=f'write "!{path[1:]}"')
    if not path or path.startswith("?"):
        return Complaint(wrong='after "?" goes a path', hint='write "?~/name" for a path that may be missing')
    return _check_root(key, path) or _check_parts(path)


def _check_root(key: str, path: str) -> Complaint | None:
    """Where a path starts: the home, the root, or a directory of the desktop's."""
    first = path.partition("/")[0]
    if not first:
        return _check_absolute(key, path)
    if key == "files.system":
        return Complaint(
            wrong="a system path begins with /",
            hint="write the user's own files under files.read or files.write",
        )
    if first == "~":
        if path.strip("/") == "~":
            return Complaint(
                wrong="the home as a whole isn't granted by a path",
                hint="name the directories that are needed"
                if key.startswith("broker.")
                else 'write files.home = "host", or name what is needed',
            )
        return None
    if first.startswith("~"):
        return Complaint(
            wrong="another user's home can't be named", hint="write ~/name for your own, or an absolute path"
        )
    if first.startswith("$"):
        return Complaint(
            wrong="variables have no meaning in paths", hint="write ~/name, or an XDG name such as Downloads"
        )
    if path.startswith("file:"):
        return Complaint(wrong="it is an address, not a path", hint='write it without "file://"')
    if first in XDG_NAMES:
        return None
    return Complaint(
        wrong="a path begins with ~/, with / or with an XDG name", hint=_hint_for_relative(path, first)
    )


def _check_absolute(key: str, path: str) -> Complaint | None:
    top = path.split("/")[1]
    if not top:
        return Complaint(wrong="the root is always the box's own", hint="name what is needed in it")
    if top in ("proc", "sys", "dev") and key != "files.hide":
        hint = "see devices.gpu" if top == "dev" and key.startswith("files.") else "leave it out"
        if key.startswith("broker."):
            return Complaint(wrong=f"nothing of /{top} is ever handed in", hint=hint)
        return Complaint(wrong=f"/{top} is made anew in each box and takes nothing from outside", hint=hint)
    return None


def _check_parts(path: str) -> Complaint | None:
    if len(path) > PATH_LENGTH_MAX:
        return Complaint(wrong=f"a path has at most {PATH_LENGTH_MAX} characters")
    parts = path.rstrip("/").split("/")[1:]
    if ".." in parts:
        return Complaint(wrong='".." could lead anywhere', hint="write the path without it")
    if "." in parts or "" in parts:
        return Complaint(wrong='it holds "/./" or "//"', hint="write the path without it")
    if any("**" in part for part in parts):
        return Complaint(wrong="** has no meaning", hint="write the directory: all in it comes with it")
    return None


def _hint_for_relative(path: str, first: str) -> str:
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in XDG_NAMES}
    for near in get_close_matches(first.lower(), by_lower, n=1, cutoff=0.75):
        return f'write "{by_lower[near]}{path[len(first) :]}"'
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        return 'write where it is from the home or from the root: "~/name" or "/name"'
    start = first.lower().rstrip("s")
    for lower, name in by_lower.items():
        if len(start) >= SHORTENED_MIN and lower.startswith(start):
            return f'write "{name}{path[len(first) :]}", or "~/{path}" if it is a directory of your own'
    return f'write "~/{"/".join(parts)}"; XDG names are {", ".join(XDG_NAMES)}'


def _check_set_name(text: str) -> Complaint | None:
    if "/" in text or text.endswith(".toml"):
        return Complaint(wrong="a set goes by its name, not by its file", hint=f'write "{_stem(text)}"')
    return check_name(text)


def _stem(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].removesuffix(".toml")


def _check_program(text: str) -> Complaint | None:
    if text.startswith("-"):
        return Complaint(wrong="a program's name doesn't begin with -", hint="write options under arguments")
    if text.startswith("/"):
        if text.endswith("/"):
            return Complaint(wrong="it is a directory", hint="write the program in it")
        return _check_parts(text)
    if "/" in text:
        return Complaint(
            wrong="a program goes by its name or by its absolute path",
            hint=f'write "{_stem(text)}" or the whole path',
        )
    if " " in text:
        word, _, rest = text.partition(" ")
        return Complaint(
            wrong="command holds alternatives, each a program's name alone",
            hint=f'write command = ["{word}"] and arguments = ["{rest}"]',
        )
    return None


def _check_kept_variable(text: str) -> Complaint | None:
    if text == "*":
        return Complaint(wrong="all variables at once can't be kept", hint="name those that are needed")
    return check_variable(text.removesuffix("*"))


def _check_syscall(text: str) -> Complaint | None:
    name = text.removeprefix("@")
    if name and _SYSCALL.issuperset(name):
        return None
    return Complaint(
        wrong="a system call's name has only small letters, digits and _",
        hint='write "openat", or "@mount" for a group',
    )


def _check_scheme(text: str) -> Complaint | None:
    bare = text.lower().partition(":")[0]
    if not _SCHEME.issuperset(text):
        right = bare and _SCHEME.issuperset(bare) and bare[0].isalpha()
        return Complaint(
            wrong="a link's scheme is what stands before the colon, in small letters",
            hint=f'write "{bare}"' if right else 'write, for example, "https"',
        )
    if not text[0].isalpha():
        return Complaint(wrong="a scheme begins with a letter", hint='write, for example, "https"')
    if text in NEVER_LINKS:
        return Complaint(wrong=NEVER_LINKS[text], hint="take it out")
    return None


def _check_type(text: str) -> Complaint | None:
    family, slash, name = text.partition("/")
    if not slash or not name or not _TYPE.issuperset(family):
        return Complaint(
            wrong="it is no type of files", hint='write, for example, "application/pdf" or "image/*"'
        )
    if family not in FAMILIES:
        return Complaint(
            wrong=f"no type of files begins with {family}/", hint=f"types begin with {', '.join(FAMILIES)}"
        )
    if name == "*" and family == "application":
        return Complaint(
            wrong="programs and scripts are of types that begin with application/",
            hint='name each type, such as "application/pdf"',
        )
    if text in NEVER_TYPES:
        return Complaint(
            wrong="it starts programs, so that opening it would be running it", hint="take it out"
        )
    if name != "*" and not _TYPE.issuperset(name):
        return Complaint(
            wrong="a type has small letters, and * stands for all of a family",
            hint='write, for example, "application/pdf" or "image/*"',
        )
    return None


def _check_size(text: str) -> Complaint | None:
    if _is_nothing(text):
        return Complaint(wrong="no program starts with nothing", hint=f'{NO_LIMIT}, or, for example, "2GiB"')
    amount = size(text)
    if amount is None:
        number = text.rstrip("KMGTBikmgtb ").strip()
        unit = text[len(number) :].strip().upper()[:1]
        near = f"{number}{unit}iB" if unit in ("K", "M", "G", "T") else ""
        return Complaint(
            wrong=f"a size is a number and one of {', '.join(UNITS)}",
            hint=f'write "{near}"' if size(near) is not None else 'write, for example, "2GiB"',
        )
    if amount < MEMORY_MIN:
        return Complaint(wrong="no program starts with so little", hint='write, for example, "500MiB"')
    return None


def _check_share(text: str) -> Complaint | None:
    if _is_nothing(text):
        return Complaint(
            wrong=f"a share is from {CPU_MIN}% to {CPU_MAX}%", hint=f'{NO_LIMIT}, or, for example, "150%"'
        )
    share = percent(text)
    if share is None:
        number = text.rstrip("% ")
        return Complaint(
            wrong="a share is a whole number of percent",
            hint=f'write "{number}%"' if percent(f"{number}%") else 'write, for example, "150%"',
        )
    if not CPU_MIN <= share <= CPU_MAX:
        return Complaint(
            wrong=f"a share is from {CPU_MIN}% to {CPU_MAX}%", hint="100% is all of one processor"
        )
    return None


def _is_nothing(text: str) -> bool:
    """Whether it is a zero, with a unit or without."""
    number = text.rstrip("%KMGTBikmgtb ")
    return "0" in number and not number.strip("0.")


def _check_key(text: str) -> Complaint | None:
    """A fingerprint as ssh-add prints it, or a key's comment."""
    if text.upper().startswith("MD5:") or (text.count(":") == 15 and len(text) == 47):
        return Complaint(
            wrong="it is a fingerprint of the old kind, which can be forged",
            hint="write what ssh-add -l prints, SHA256:…",
        )
    if text.startswith(("/", "~/")):
        return Complaint(
            wrong="it is a file, and an agent knows keys by fingerprint and comment",
            hint="write what ssh-add -l prints, SHA256:…",
        )
    if text.startswith(FINGERPRINT):
        rest = text.removeprefix(FINGERPRINT)
        if len(rest) != FINGERPRINT_LETTERS or not _BASE64.issuperset(rest):
            return Complaint(
                wrong=f"{FINGERPRINT} is followed by {FINGERPRINT_LETTERS} letters and digits",
                hint="copy it from ssh-add -l",
            )
    return None
