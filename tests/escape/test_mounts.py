"""Attack: change what is mounted, by the old calls and the new ones."""

from __future__ import annotations

import os

import pytest
from escape.conftest import Attack
from escape.kernel import NEWNS, NEWUSER, Kernel

NESTED = ["advanced.nested=true"]
UNFILTERED = [*NESTED, 'syscalls.allow=["@mount", "@new-mount-api", "@namespaces"]']
"""A nested sandbox with no filter on mounts: then the kernel must hold the covers in their place."""
OPEN_TREE_CLONE, MOVE_EMPTY_PATH, CREATE = 1, 4, 6
OUTSIDE = {
    "open_tree": "EFAULT",
    "move_mount": "EPERM",
    "fsconfig": "EINVAL",
    "fsmount": "EPERM",
    "mount_setattr": "EINVAL",
}
"""What the kernel says to arguments that name nothing."""
MS_REMOUNT, MS_BIND, MS_RDONLY, MNT_DETACH = 32, 4096, 1, 2
ATTR_RDONLY, AT_EMPTY_PATH, AT_RECURSIVE = 1, 0x1000, 0x8000


def mount_tmpfs(kernel: Kernel) -> None:
    kernel.call("unshare", NEWUSER | NEWNS)
    kernel.mount("none", "/tmp", "tmpfs")


def mount_without_unshare(kernel: Kernel) -> None:
    kernel.mount("none", "/nowhere", "tmpfs")


def mount_the_new_way(kernel: Kernel) -> None:
    kernel.call("unshare", NEWUSER | NEWNS)
    new_tmpfs(kernel)


def new_tmpfs(kernel: Kernel) -> None:
    context = kernel.call("fsopen", b"tmpfs", 0)
    kernel.call("fsconfig", context, CREATE, None, None, 0)
    kernel.call("move_mount", kernel.call("fsmount", context, 0, 0), b"", -100, b"/tmp", MOVE_EMPTY_PATH)


def one_new_call(kernel: Kernel, name: str) -> None:
    kernel.call(name, -1, None, 0, None, 0)


def nested_unmount(kernel: Kernel, place: str) -> None:
    """In a mount namespace of its own: outside of a mount that it made, inside of a cover."""
    kernel.become_root_of(NEWNS)
    if place == "/mnt":
        kernel.mount("none", "/mnt", "tmpfs")
    kernel.call("umount2", place.encode(), MNT_DETACH)


def nested_remount(kernel: Kernel, place: str) -> None:
    kernel.become_root_of(NEWNS)
    if place == "/mnt":
        kernel.mount("none", "/mnt", "tmpfs")
    kernel.call("mount", b"none", place.encode(), None, MS_REMOUNT | MS_BIND, None)
    os.mkdir(f"{place}/written")


def nested_attributes(kernel: Kernel, place: str) -> None:
    """Clear "read-only" by mount_setattr on the mount itself."""
    kernel.become_root_of(NEWNS)
    if place == "/mnt":
        kernel.mount("none", "/mnt", "tmpfs", MS_RDONLY)
    tree = os.open(place, os.O_PATH)
    attributes = (ATTR_RDONLY << 64).to_bytes(32, "little")
    kernel.call("mount_setattr", tree, b"", AT_EMPTY_PATH, attributes, 32)


def nested_copy(kernel: Kernel, place: str) -> None:
    """A copy of a mount without those that lie on it shows what is beneath a cover."""
    kernel.become_root_of(NEWNS)
    kernel.call("open_tree", -100, place.encode(), OPEN_TREE_CLONE)


def nested_bind(kernel: Kernel, place: str) -> None:
    kernel.become_root_of(NEWNS)
    kernel.call("mount", place.encode(), b"/tmp", None, MS_BIND, None)


def nested_file_system(kernel: Kernel, kind: str) -> None:
    """A new procfs or sysfs has no covers. procfs belongs to the process namespace: so the child mounts it."""
    kernel.become_root_of(NEWNS | 0x20000000 | 0x40000000)
    child = os.fork()
    if not child:
        try:
            kernel.mount(kind, "/tmp", kind)
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(code, os.strerror(code))


def nested_pivot(kernel: Kernel) -> None:
    kernel.become_root_of(NEWNS)
    kernel.mount("none", "/tmp", "tmpfs")
    os.chdir("/tmp")
    os.mkdir("old")
    kernel.call("pivot_root", b".", b"old")


def test_a_file_system_cannot_be_mounted(attack: Attack) -> None:
    attack(mount_tmpfs, refused="EPERM")
    attack(mount_tmpfs, refused="EPERM", settings=NESTED)


def test_mount_is_refused_before_its_arguments_are_looked_at(attack: Attack) -> None:
    attack(mount_without_unshare, outside="ENOENT", refused="EPERM")


def test_the_new_calls_are_not_there(attack: Attack) -> None:
    attack(mount_the_new_way, refused="EPERM")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_new_call_is_not_there(attack: Attack, name: str) -> None:
    """Outside, the kernel looks at what it is given: no such file system, mount or address."""
    for settings in ([], NESTED):
        attack(one_new_call, name, outside=OUTSIDE[name], refused="ENOSYS", settings=settings)


@pytest.mark.parametrize("place", ["/proc/sys", "/proc/keys", "/proc/acpi", "/usr"])
def test_a_nested_sandbox_cannot_take_a_cover_away(attack: Attack, place: str) -> None:
    attack(
        nested_unmount, "/mnt", instead={"/mnt": place}, refused="EINVAL", settings=UNFILTERED, landlock=False
    )


@pytest.mark.parametrize("place", ["/proc/sys", "/usr", "/"])
def test_a_nested_sandbox_cannot_make_a_mount_writable(attack: Attack, place: str) -> None:
    inside = {"/mnt": place}
    attack(nested_remount, "/mnt", instead=inside, refused="EPERM", settings=UNFILTERED, landlock=False)
    attack(nested_attributes, "/mnt", instead=inside, refused="EPERM", settings=UNFILTERED, landlock=False)


def test_a_nested_sandbox_cannot_copy_what_lies_beneath_a_cover(attack: Attack) -> None:
    inside = {"/usr": "/proc"}
    attack(nested_copy, "/usr", instead=inside, refused="EINVAL", settings=UNFILTERED, landlock=False)
    attack(nested_bind, "/usr", instead=inside, refused="EINVAL", settings=UNFILTERED, landlock=False)


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_a_nested_sandbox_cannot_mount_what_is_covered_anew(attack: Attack, kind: str) -> None:
    attack(nested_file_system, kind, refused="EPERM", settings=UNFILTERED, landlock=False)


def test_landlock_forbids_a_nested_sandbox_all_mounts(attack: Attack) -> None:
    attack(mount_tmpfs, refused="EPERM", settings=UNFILTERED)


def test_a_nested_sandbox_cannot_change_the_root(attack: Attack) -> None:
    attack(nested_pivot, refused="EPERM", settings=NESTED)
