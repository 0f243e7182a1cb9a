"""
Typical machines, made of a FakeHost: what grants are tried on.

`machine` has what every one has; each function below adds a session to it. The policies that come with sandboxer are
in all of them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from fakes import ANN, Directory, Entry, FakeHost, Link, Node

from sandboxer.host.installation import broker_client
from sandboxer.host.view import FileType
from sandboxer.paths import data_dir
from sandboxer.policy.effective import Effective
from sandboxer.policy.model import Policy
from sandboxer.words import Origin

SOCKET = Node(type=FileType.SOCKET)
RUNTIME = "/run/user/1000"
ASKED = Origin("apps/test.toml", 7)


def character(major: int = 1, minor: int = 3) -> Node:
    return Node(type=FileType.CHARACTER, device=(major, minor))


DEBIAN: dict[str, Entry] = {
    "/usr/bin/sh": "",
    "/usr/bin/bash": "",
    "/usr/bin/firefox-esr": Link(target="../lib/firefox-esr/firefox-esr"),
    "/usr/lib/firefox-esr/firefox-esr": "",
    "/usr/lib/os-release": "ID=debian\n",
    "/usr/share/zoneinfo/Europe/Berlin": b"TZif2",
    "/bin": Link(target="usr/bin"),
    "/sbin": Link(target="usr/sbin"),
    "/lib": Link(target="usr/lib"),
    "/lib64": Link(target="usr/lib64"),
    "/usr/sbin": Directory(),
    "/usr/lib64": Directory(),
    "/etc/alternatives": Directory(),
    "/etc/ld.so.cache": b"\0" * 50_000,
    "/etc/fonts": Directory(),
    "/etc/gtk-3.0": Directory(),
    "/etc/hosts": "127.0.0.1 localhost\n192.168.1.2 nas\n",
    "/etc/hostname": "laptop\n",
    "/etc/localtime": Link(target="/usr/share/zoneinfo/Europe/Berlin"),
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/nsswitch.conf": "hosts: files dns\n",
    "/etc/os-release": Link(target="../usr/lib/os-release"),
    "/etc/resolv.conf": Link(target="../run/systemd/resolve/stub-resolv.conf"),
    "/etc/ssl/certs": Directory(),
    "/etc/timezone": "Europe/Berlin\n",
    "/run/systemd/resolve/stub-resolv.conf": "nameserver 127.0.0.53\n",
    "/var/cache/fontconfig": Directory(),
    "/tmp": Directory(),
    "/var/tmp": Directory(),
    "/sys/devices/system/cpu/online": "0-1\n",
    "/sys/devices/system/cpu/cpu0/thermal_throttle": Directory(),
    "/sys/devices/system/cpu/cpu1/topology": Directory(),
    **{f"/proc/{name}": Directory() for name in ("acpi", "bus", "fs", "irq", "sys")},
    **{f"/proc/{name}": "" for name in ("sysrq-trigger", "kcore", "keys", "timer_list", "interrupts")},
    **{f"/dev/{name}": character() for name in ("null", "zero", "full", "random", "urandom", "tty")},
    "/home/ann/Downloads": Directory(),
    "/home/ann/.ssh/id_ed25519": "secret",
    "/home/ann/.bashrc": "",
    "/home/ann/.local/share/fonts": Directory(),
    "/home/ann/.config/gtk-3.0/settings.ini": "[Settings]\n",
    "/home/ann/.config/gtk-3.0/bookmarks": "file:///home/ann/tax\n",
}
INTEL: dict[str, Entry] = {
    "/dev/dri/card0": character(226, 0),
    "/dev/dri/renderD128": character(226, 128),
    "/sys/dev/char/226:0": Link(target="../../devices/pci0000:00/0000:00:02.0/drm/card0"),
    "/sys/dev/char/226:128": Link(target="../../devices/pci0000:00/0000:00:02.0/drm/renderD128"),
    "/sys/devices/pci0000:00/0000:00:02.0/drm/card0": Directory(),
    "/sys/devices/pci0000:00/0000:00:02.0/drm/renderD128": Directory(),
}
NVIDIA: dict[str, Entry] = {
    "/dev/nvidiactl": character(195, 255),
    "/dev/nvidia0": character(195, 0),
    "/dev/nvidia-modeset": character(195, 254),
    "/dev/nvidia-uvm": character(511, 0),
    "/dev/nvidia-caps/nvidia-cap2": character(236, 2),
}
DESKTOP = {"XDG_RUNTIME_DIR": RUNTIME, "SHELL": "/bin/bash", "LANG": "de_DE.UTF-8"}


def machine(
    tree: Mapping[str, Entry] = {},
    variables: Mapping[str, str] = {},
    *,
    working_directory: str = "/home/ann",
    landlock_abi: int = 7,
    controllers: tuple[str, ...] | None = None,
    missing: tuple[str, ...] = (),
) -> FakeHost:
    """Debian on a laptop, ann logged in, nothing graphical."""
    return FakeHost(
        {**DEBIAN, RUNTIME: Directory(), broker_client(): "", **shipped_policies(), **tree},
        variables={**DESKTOP, **variables},
        user=ANN,
        working_directory=working_directory,
        landlock_abi=landlock_abi,
        controllers=controllers,
        missing=missing,
    )


def wayland(tree: Mapping[str, Entry] = {}, **options: str) -> FakeHost:
    """GNOME on Wayland: a user manager, Xwayland beside it, PipeWire with its PulseAudio socket, an Intel card."""
    session: dict[str, Entry] = {
        **INTEL,
        f"{RUNTIME}/wayland-0": SOCKET,
        f"{RUNTIME}/pulse/native": SOCKET,
        f"{RUNTIME}/pipewire-0": SOCKET,
        f"{RUNTIME}/bus": SOCKET,
        "/tmp/.X11-unix/X0": SOCKET,
    }
    variables = {"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0", **options}
    return machine({**session, **tree}, variables, controllers=("cpu", "memory", "pids"))


def x11(tree: Mapping[str, Entry] = {}, *, landlock_abi: int = 7, **options: str) -> FakeHost:
    """XFCE on X11, PulseAudio, an Intel card, cookies in ~/.Xauthority."""
    cookies = cookie(256, b"laptop", b"0", b"\1" * 16) + cookie(256, b"office", b"3", b"\2" * 16)
    session: dict[str, Entry] = {
        **INTEL,
        f"{RUNTIME}/pulse/native": SOCKET,
        f"{RUNTIME}/bus": SOCKET,
        "/tmp/.X11-unix/X0": SOCKET,
        "/home/ann/.Xauthority": cookies,
    }
    return machine({**session, **tree}, {"DISPLAY": ":0.0", **options}, landlock_abi=landlock_abi)


def library() -> FakeHost:
    """As `wayland`, with papers and an SSH agent: what golden/reader.toml asks for."""
    policy = os.path.join(os.path.dirname(__file__), "golden", "reader.toml")
    with open(policy, "rb") as file:
        tree: dict[str, Entry] = {"/home/ann/.config/sandboxer/apps/reader.toml": file.read()}
    tree |= {
        "/usr/bin/reader": "",
        "/usr/bin/xdg-open": "",
        "/home/ann/Documents/taxes/2024.ods": "",
        "/home/ann/shelf/index": "",
        "/tmp/ssh-x/agent.1": SOCKET,
    }
    return wayland(tree, SSH_AUTH_SOCK="/tmp/ssh-x/agent.1")


def nvidia() -> FakeHost:
    """As `x11`, with NVIDIA's own driver."""
    return x11(NVIDIA)


def cookie(
    family: int, address: bytes, number: bytes, data: bytes, name: bytes = b"MIT-MAGIC-COOKIE-1"
) -> bytes:
    """One entry of an Xauthority file."""
    return struct.pack(">H", family) + b"".join(
        struct.pack(">H", len(field)) + field for field in (address, number, name, data)
    )


def shipped_policies() -> dict[str, Entry]:
    """The files of policies/, where they are."""
    found: dict[str, Entry] = {}
    for directory, _, names in os.walk(data_dir("policies")):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[path] = file.read()
    return found


class Asked(dict[tuple[str, str], Origin]):
    """Origins that know every key: each was asked for by one and the same line."""

    def get(self, key: tuple[str, str], _default: object = None) -> Origin:
        return Origin(ASKED.file, ASKED.line, key[0])


def effective(policy: Policy, name: str = "test", *, found: bool = True) -> Effective:
    """A merged policy whose every line is ASKED."""
    return Effective(name=name, policy=policy, origins=Asked(), found=found)
