"""
The policy as data: every table and key that a policy file may hold, with its default and its meaning.

What comes in: nothing. What goes out: types that `parse` fills, `schema` turns into the JSON Schema, and `reference`
turns into policies/README.md. A key's description is its docstring here, once: `Annotated[..., Meta(description=...)]`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sandboxer.words import Record

Wanted = bool | Literal["if-present"]
"""true: an error when the session has none; "if-present": granted where there is one; false: not granted."""


class Files(Record, rename="kebab"):
    """Which of the user's files the application sees."""

    home: Annotated[
        Literal["private", "ephemeral", "host"],
        Meta(
            description=(
                "The home directory. `private`: one of its own, kept between runs; `ephemeral`: an empty one, "
                "thrown away at the end; `host`: the real one, read-only (open parts of it with `write`)."
            )
        ),
    ] = "ephemeral"
    read: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Files and directories that can be read, and sockets in them that can be talked to. Never the "
                "session's runtime directory: name the sockets in it."
            )
        ),
    ] = ()
    write: Annotated[
        tuple[str, ...], Meta(description="Files and directories that can be read, changed and deleted.")
    ] = ()
    own: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Directories that belong to this application alone, hidden ones too: what a service manager makes for "
                "a service (StateDirectory= and the like). They can be read and changed. What lies in `~/.config` "
                "has to go by the name of the policy or of its `command`."
            )
        ),
    ] = ()
    hide: Annotated[
        tuple[str, ...], Meta(description="Covered by something empty, also inside what is granted.")
    ] = ()
    system: Annotated[
        tuple[str, ...],
        Meta(description="Parts of /etc, /opt, /var and the like that belong to the system, read-only."),
    ] = ()
    documents: Annotated[
        Literal["none", "read", "write"],
        Meta(
            description="What may be done with files that the user names on the command line, hidden ones too."
        ),
    ] = "read"
    siblings: Annotated[
        bool,
        Meta(
            description=(
                "With a file that the user names comes the directory that it lies in: its subtitles, its style sheets, "
                "and whatever else is there. Not where that is the home or the system's, and not together with `hide`."
            )
        ),
    ] = False
    working_directory: Annotated[
        Literal["none", "read", "write"],
        Meta(description="What may be done with the directory that the application is started in."),
    ] = "none"
    working_directory_top: Annotated[
        str,
        Meta(
            description=(
                "A name that marks the top of a piece of work (`.git`): the nearest directory, from where the "
                "application is started upwards, that holds it is shared instead. Empty: no looking upwards."
            )
        ),
    ] = ""


class Display(Record, rename="kebab"):
    """Whether the application can show windows, and through what."""

    wayland: Annotated[
        bool | Literal["if-present", "one-connection"],
        Meta(
            description=(
                "The Wayland compositor's socket. `one-connection`: no socket, but one connection that is made before "
                "the box (`WAYLAND_SOCKET`). Only the first program that uses it gets windows: one that consists of "
                "several processes, as browsers do, or that connects anew needs the socket."
            )
        ),
    ] = False
    x11: Annotated[
        bool | Literal["fallback"],
        Meta(
            description=(
                "The X server's socket, with this display's cookie alone. `fallback`: only where there is no Wayland. "
                "X clients can watch and control one another: see the threat model."
            )
        ),
    ] = False


class Sound(Record, rename="kebab"):
    """Whether the application can play sound, and listen."""

    playback: Annotated[Wanted, Meta(description="Play sound, through PulseAudio or PipeWire.")] = False
    record: Annotated[
        bool,
        Meta(
            description=(
                "Listen to the microphone. A sound server's socket gives both, so `playback` without `record` "
                "is refused until they can be told apart."
            )
        ),
    ] = False


class Bus(Record, rename="kebab"):
    """Which message bus (D-Bus) the application finds. The session's is never there."""

    private: Annotated[
        Wanted,
        Meta(
            description=(
                "A bus of the box's own, on which its programs meet one another and nobody else: Firefox, started "
                "again, finds the running one there. Not for commands that `sandbox run` names."
            )
        ),
    ] = False


class Devices(Record, rename="kebab"):
    """Which device nodes exist, besides null, zero, full, random, urandom, tty and the private pts."""

    gpu: Annotated[
        bool | Literal["if-present", "full"],
        Meta(
            description=(
                "Hardware rendering: render nodes (NVIDIA's own ones too) and what describes them in /sys. "
                "`full`: card nodes too, which can also set modes."
            )
        ),
    ] = False


class Look(Record, rename="kebab"):
    """Whether the application looks as it does outside."""

    fonts: Annotated[bool, Meta(description="The user's fonts and font settings, read-only.")] = False
    themes: Annotated[bool, Meta(description="Icon and cursor themes, GTK and Qt settings, read-only.")] = (
        False
    )
    locale: Annotated[bool, Meta(description="Language, formats and time zone.")] = True


class Network(Record, rename="kebab"):
    """What the application can connect to."""

    access: Annotated[
        Literal["none", "host"],
        Meta(
            description="`none`: a network of its own with nothing in it; `host`: all that the user can reach."
        ),
    ] = "none"


class Terminal(Record, rename="kebab"):
    """What the application may do with the terminal that it is started from."""

    access: Annotated[
        Literal["full", "output"],
        Meta(
            description=(
                "`full`: read what is typed and write; `output`: write only, so that it can't read what you type at "
                "the shell while it runs in the background (that needs Linux 6.2; else it is a hole)."
            )
        ),
    ] = "full"


class Broker(Record, rename="kebab"):
    """
    What the application may ask for while it runs, one thing at a time, of the broker: a small process outside that
    opens files by these rules and hands them in. The lists hold paths as in `[files]`; a directory stands for all
    beneath it. What is listed isn't visible in the box: only programs that ask get it (`sandbox-broker`,
    `sandboxer.client`).
    """

    read: Annotated[
        tuple[str, ...], Meta(description="Files that may be opened for reading, and looked at.")
    ] = ()
    write: Annotated[
        tuple[str, ...],
        Meta(description="Files that are there and may be opened for writing, emptied too, and looked at."),
    ] = ()
    append: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Files that may be opened to add to their end, and looked at. A program that was given one can take "
                "that limit (O_APPEND) off and write over what the file holds; it can't empty it."
            )
        ),
    ] = ()
    create: Annotated[
        tuple[str, ...],
        Meta(description="Directories in which new files may be made, where `write` or `append` opens them."),
    ] = ()
    stat: Annotated[tuple[str, ...], Meta(description="What may be looked at: size, times, owner.")] = ()
    access: Annotated[
        tuple[str, ...], Meta(description="Of what may be asked whether it could be opened.")
    ] = ()
    readlink: Annotated[tuple[str, ...], Meta(description="Symbolic links that may be read.")] = ()
    list: Annotated[
        tuple[str, ...], Meta(description="Directories whose names may be listed, those beneath them too.")
    ] = ()
    mkdir: Annotated[tuple[str, ...], Meta(description="Directories in which directories may be made.")] = ()
    rename: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Directories in which files and directories may be moved and renamed, never out of them; over one that "
                "is there only where `unlink` is granted, too."
            )
        ),
    ] = ()
    unlink: Annotated[
        tuple[str, ...],
        Meta(description="Directories in which files, links and empty directories may be removed."),
    ] = ()
    watch: Annotated[tuple[str, ...], Meta(description="What may be watched for changes (inotify).")] = ()
    connect: Annotated[
        tuple[Literal["wayland", "x11", "pulseaudio", "pipewire", "ssh-agent"], ...],
        Meta(
            description=(
                "Services that it may be connected to, without their socket being in the box. `ssh-agent` is a socket "
                "of the broker's own (`SSH_AUTH_SOCK`) that lets through the keys of `ssh-agent-keys` alone."
            )
        ),
    ] = ()
    ssh_agent_keys: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Keys of the SSH agent that may be used: fingerprints (`SHA256:…`, as `ssh-add -l` prints them) or "
                "comments, in full."
            )
        ),
    ] = ()
    descriptor: Annotated[
        bool,
        Meta(
            description=(
                "A connected descriptor besides the socket, its number in `SANDBOXER_BROKER_FD`: for programs that "
                "give up opening paths before they ask."
            )
        ),
    ] = False
    links: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Schemes of links (`https`, `mailto`) that are opened outside, with the user's own program, when it "
                "runs `xdg-open`. Whoever receives the link learns what is written in it, network or not."
            )
        ),
    ] = ()
    presents: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Types of files (`application/pdf`, `image/*`) that are opened outside, with the user's own program, "
                "when it runs `xdg-open` on a file of its box. That program gets a copy, of at most 256 MiB: what it "
                "changes there doesn't come back."
            )
        ),
    ] = ()


class Environment(Record, rename="kebab"):
    """Which environment variables get in. What isn't named by a grant or here doesn't."""

    keep: Annotated[
        tuple[str, ...],
        Meta(description="Names to take from outside; a trailing `*` takes all that start so."),
    ] = ()
    set: Annotated[dict[str, str], Meta(description="Variables with fixed values.")] = {}


class Syscalls(Record, rename="kebab"):
    """Which system calls are refused. Groups are files in policies/deny/."""

    deny: Annotated[
        tuple[str, ...], Meta(description="System calls, or groups as `@name`, that are refused.")
    ] = ()
    allow: Annotated[
        tuple[str, ...], Meta(description="System calls, or groups, that are taken off the deny list.")
    ] = ()
    foreign: Annotated[
        tuple[Literal["i386", "x32"], ...],
        Meta(description="Other ABIs of this processor that may be used; the same deny list holds for them."),
    ] = ()


class Limits(Record, rename="kebab"):
    """
    How much of the machine the application may use. With a user manager (systemd) the box has a control group, and
    what the session delegates to that holds for all programs of the box together; without one the kernel's limits of
    processes hold what they can, and `sandbox explain` tells what isn't held. Limits are in force before the
    application's first instruction.
    """

    memory: Annotated[
        str,
        Meta(
            description=(
                'Memory that it may use (`"2GiB"`, `"500MiB"`), all its programs together, and no swap: the kernel '
                "ends one that wants more. Where no control group can hold it, each program gets that much memory of "
                "its own; what it shares with others (MAP_SHARED, files in memory) isn't counted then. Empty: no limit."
            )
        ),
    ] = ""
    memory_high: Annotated[
        str,
        Meta(
            description=(
                "Memory from which on it is slowed down, and made to give some back. Only a control group can hold it. "
                "Empty: no limit."
            )
        ),
    ] = ""
    tasks: Annotated[
        int,
        Meta(
            description="Processes and threads that it may have at once, the box's own first process among them.",
            ge=2,
            le=4_194_304,
        ),
    ] = 4096
    cpu: Annotated[
        str,
        Meta(
            description=(
                'Share of the processors, in percent of one (`"150%"`: one and a half). Only a control group can hold '
                "it. Empty: no limit."
            )
        ),
    ] = ""
    io_weight: Annotated[
        int,
        Meta(
            description=(
                "Its part of the disks' time when others want it as well; others have 100. Only a control group can "
                "hold it, of a kernel that has io.weight. `0`: as others."
            ),
            ge=0,
            le=10_000,
        ),
    ] = 0
    open_files: Annotated[
        int,
        Meta(
            description="Descriptors that each of its processes may have open. `0`: as the session has it.",
            ge=0,
            le=1_048_576,
        ),
    ] = 0
    no_new_files: Annotated[
        bool,
        Meta(
            description=(
                "It can write to no file, whatever is granted, nor to memory that is shared as a file, so that it "
                "shows no windows: for programs that only read and print."
            )
        ),
    ] = False


class Advanced(Record, rename="kebab"):
    """Switches that weaken the box. `explain` lists them first."""

    nested: Annotated[
        bool,
        Meta(description="The application may make user namespaces for a sandbox of its own (browsers do)."),
    ] = False
    let_application_change_what_runs_outside: Annotated[
        bool,
        Meta(
            description=(
                "Permit `write` grants over shell start-up files, autostart, user units, .desktop files, policies "
                "or plans: with them the application can run anything, outside, as you."
            )
        ),
    ] = False


class Policy(Record, rename="kebab"):
    """One application's policy, or a set that policies extend."""

    summary: Annotated[str, Meta(description="What it is, in a few words.")] = ""
    extends: Annotated[
        tuple[str, ...], Meta(description="Sets whose grants come first; see policies/sets/.")
    ] = ()
    command: Annotated[
        tuple[str, ...],
        Meta(
            description="Programs to start, the first that is installed; the policy's own name unless said."
        ),
    ] = ()
    arguments: Annotated[tuple[str, ...], Meta(description="Words that go before the user's own.")] = ()
    lingers: Annotated[
        bool,
        Meta(
            description=(
                "The program goes on in the background after its first process ends; the box lives as long. "
                "Otherwise everything in the box ends with the first process."
            )
        ),
    ] = False
    second_instance: Annotated[
        bool,
        Meta(
            description=(
                "Started again, the program hands its words to the one that runs, and ends: that is how `sandbox open` "
                "has a running one open a file. Otherwise `sandbox open` prints where the file is in the box."
            )
        ),
    ] = False
    files: Files = Files()
    display: Display = Display()
    sound: Sound = Sound()
    bus: Bus = Bus()
    devices: Devices = Devices()
    look: Look = Look()
    network: Network = Network()
    terminal: Terminal = Terminal()
    broker: Broker = Broker()
    environment: Environment = Environment()
    syscalls: Syscalls = Syscalls()
    limits: Limits = Limits()
    advanced: Advanced = Advanced()
