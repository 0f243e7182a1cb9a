"""
Words of the command line → a request: which policy, changed how, for which program.

What comes in: the words after `sandbox`. What goes out: a Request, or UsageError. It never looks at the machine, and
it reads no word of the application's own.
"""

from __future__ import annotations

from sandboxer.errors import UsageError
from sandboxer.plan.ops import PlanFlag
from sandboxer.policy.checks import check_variable
from sandboxer.words import Record

RUN_HINT = "sandbox run [--policy NAME|FILE] [--set KEY=VALUE ...] -- COMMAND [ARG ...]"
TAKES_VALUE = ("--policy", "--set", "--keep-fd", "--fd", "--env-file")
DEFAULT_POLICY = "strict"


class HandedFile(Record):
    """A file that is opened outside and handed over by number: `name` is the variable that tells the number."""

    name: str
    path: str
    write: bool


class EnvironmentFile(Record):
    """A file whose variables are for the box; `optional` where it may be absent."""

    path: str
    optional: bool


class Request(Record):
    """
    What is to be started, and how.

    `words` are those that choose the plan, as the launcher puts them: ("app", NAME) or ("run", OPTION...). `rest` are
    those that the launcher is started with again: all of the command line but --debug, --fd and --env-file. `files` are
    those of --fd, `environment_files` those of --env-file, which choose no plan: `descriptors` and `environment_files`
    open them, and ask anew for what they have become.
    """

    words: tuple[str, ...]
    rest: tuple[str, ...]
    policy: str
    settings: tuple[str, ...] = ()
    keep_fds: tuple[int, ...] = ()
    files: tuple[HandedFile, ...] = ()
    environment_files: tuple[EnvironmentFile, ...] = ()
    flags: PlanFlag = PlanFlag(0)
    debug: bool = False

    @property
    def command_given(self) -> bool:
        """Whether the user names the program (`sandbox run -- CMD`)."""
        return self.words[0] == "run"

    @property
    def policy_file(self) -> str | None:
        """The policy's file, when a file was named and not a policy."""
        named = "/" in self.policy or self.policy.endswith(".toml")
        return self.policy if named and self.command_given else None


def app_request(words: list[str], *, debug: bool) -> Request:
    """`APP [ARG ...]`."""
    name = words[0]
    if "/" in name:
        raise UsageError(
            "an application goes by its name",
            subject=f"{name}: a path",
            hint=f"sandbox run -- {name}",
        )
    return Request(words=("app", name), rest=tuple(words), policy=name, debug=debug)


def run_request(words: list[str], *, debug: bool) -> Request:
    """`run [OPTION ...] -- COMMAND [ARG ...]`; `words` begin with "run"."""
    if "--" not in words:
        raise UsageError("no command is given", subject="there is no -- in the command line", hint=RUN_HINT)
    end = words.index("--")
    if end + 1 == len(words):
        raise UsageError("no command is given", subject="nothing follows --", hint=RUN_HINT)
    chosen: list[str] = ["run"]
    policy, settings, keep_fds, flags = "", [], [], PlanFlag(0)
    files: list[HandedFile] = []
    environment_files: list[EnvironmentFile] = []
    options = iter(words[1:end])
    for option in options:
        name, equals, value = option.partition("=")
        if option == "--debug":
            debug = True
            continue
        if option == "--die-with-parent":
            chosen.append(option)
            flags |= PlanFlag.DIE_WITH_PARENT
            continue
        if name not in TAKES_VALUE:
            raise UsageError("there is no such option of run", subject=option, hint=RUN_HINT)
        given = [option]
        if not equals:
            value = next(options, "")
            given.append(value)
        if not value:
            raise UsageError(f"{name} needs a value", hint=RUN_HINT)
        if name == "--fd":
            files.append(_handed_file(value, files))
            continue
        if name == "--env-file":
            environment_files.append(_environment_file(value))
            continue
        chosen += given
        if name == "--policy":
            if policy:
                raise UsageError(
                    "there can be only one policy", subject=f"--policy {policy} and --policy {value}"
                )
            policy = value
        elif name == "--set":
            settings.append(value)
        else:
            keep_fds.append(_descriptor(value))
    return Request(
        words=tuple(chosen),
        rest=(*chosen, *words[end:]),
        policy=policy or DEFAULT_POLICY,
        settings=tuple(settings),
        keep_fds=tuple(keep_fds),
        files=tuple(files),
        environment_files=tuple(environment_files),
        flags=flags,
        debug=debug,
    )


def _descriptor(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value) < 3:
        raise UsageError(
            "a descriptor is a number from 3 on",
            subject=f"--keep-fd {value}",
            hint="0, 1 and 2 are always kept",
        )
    return int(value)


def _environment_file(value: str) -> EnvironmentFile:
    """[-]PATH, as EnvironmentFile= of systemd has it."""
    path = value.removeprefix("-")
    if not path:
        raise UsageError("--env-file needs a path", hint="sandbox run --env-file ./.env -- ...")
    return EnvironmentFile(path=path, optional=path != value)


def _handed_file(value: str, before: list[HandedFile]) -> HandedFile:
    """NAME=PATH, with :ro or :rw at its end."""
    name, equals, path = value.partition("=")
    complaint = check_variable(name) if equals else None
    if not equals or not path or complaint is not None:
        wrong = complaint.wrong if complaint is not None else "expected NAME=PATH, or NAME=PATH:rw"
        raise UsageError(
            "cannot understand --fd",
            subject=f"{value}: {wrong}",
            hint="sandbox run --fd DATA=./data.csv -- ...",
        )
    if any(other.name == name for other in before):
        raise UsageError(
            "two files can't have one variable", subject=f"--fd {value}", hint="give each a name of its own"
        )
    bare, colon, mode = path.rpartition(":")
    if colon and bare and mode in ("ro", "rw"):
        return HandedFile(name=name, path=bare, write=mode == "rw")
    return HandedFile(name=name, path=path, write=False)
