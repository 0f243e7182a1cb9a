"""
Which files `check` looks at.

What comes in: words of the command line, or none; the Host. What goes out: files, each with what it belongs to. It
reads none of them.
"""

from __future__ import annotations

import os.path

from sandboxer.errors import UsageError
from sandboxer.host.view import Host
from sandboxer.policy import layers
from sandboxer.policy.checks import check_name
from sandboxer.words import Record, changed

KINDS = ("apps", "sets", "deny")


class Source(Record):
    """
    One file to check. `kind` is of KINDS, `name` what it belongs to ("firefox"), `shown` how the user knows it.

    `outside` is for a file that lies in no layer, `advised` for one whose doubtful lines are told, too.
    """

    path: str
    shown: str
    kind: str
    name: str
    outside: bool = False
    advised: bool = False


def layer_sources(host: Host) -> list[Source]:
    """Every file of every layer that something reads."""
    found = []
    for place in layers.places(host):
        for kind in KINDS:
            for entry in host.entries(f"{place.path}/{kind}"):
                name, _, ending = entry.rpartition(".")
                if check_name(name) is not None or entry.startswith("."):
                    continue
                files = [entry] if ending == "toml" else []
                if ending == "d" and kind != "deny":
                    inner = host.entries(f"{place.path}/{kind}/{entry}")
                    files = [f"{entry}/{file}" for file in inner if file.endswith(".toml") and file[0] != "."]
                found += [_in_layer(place, kind, name, file) for file in files]
    return found


def _in_layer(place: layers.Place, kind: str, name: str, file: str) -> Source:
    inner = f"{kind}/{file}"
    shown = inner if place.shipped else f"{place.shown}/{inner}"
    return Source(path=f"{place.path}/{inner}", shown=shown, kind=kind, name=name, advised=not place.shipped)


def named_sources(word: str, directory: str, host: Host) -> list[Source]:
    """What a word of the command line names: a file, or else all files of an application, of a set or of a group."""
    path = os.path.normpath(os.path.join(directory, word))
    if "/" in word or word.endswith(".toml") or host.type_of(path) is not None:
        return [file_source(path, host)]
    found = layer_sources(host)
    for kind in KINDS:
        if mine := [
            changed(source, advised=True) for source in found if (source.kind, source.name) == (kind, word)
        ]:
            return mine
    near = layers.nearest(word, sorted({source.name for source in found}))
    raise UsageError(
        "there is nothing of that name to check",
        subject=f"{word}: no file here, and no layer has a policy of that name",
        hint=f"sandbox check {near}" if near else "sandbox list",
    )


def file_source(path: str, host: Host) -> Source:
    """A file that was named, by its absolute path: as part of its layer, when it lies in one."""
    for source in layer_sources(host):
        if source.path == path:
            return Source(path=path, shown=source.shown, kind=source.kind, name=source.name, advised=True)
    stem = os.path.basename(path).removesuffix(".toml")
    kind = "deny" if os.path.basename(os.path.dirname(path)) == "deny" else "apps"
    return Source(path=path, shown=path, kind=kind, name=stem, outside=True, advised=True)
