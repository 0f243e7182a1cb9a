"""The shipped filter, run in the simulator."""

from __future__ import annotations

import itertools

import pytest
from filters import errno_name, numbers, program, rules, verdict

from sandboxer.plan import bpf, seccomp
from sandboxer.plan.prefix import LATEST, NEWER

pytestmark = pytest.mark.skipif(seccomp.native_arch() != bpf.ARCH_X86_64, reason="numbers of x86_64")

HIGH = 0xDEADBEEF << 32
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET, NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x80
NESTED_FLAGS = (NEWUSER, NEWPID, NEWNET, NEWIPC)
OTHER_FLAGS = (NEWNS, NEWCGROUP, NEWUTS)

EVERYDAY = """
    read write open openat close stat fstat mmap mprotect munmap brk execve execveat fork vfork clone exit exit_group
    wait4 kill futex poll ppoll epoll_wait pipe2 dup3 connect bind listen accept4 sendmsg recvmsg getdents64 rename
    unlink mkdir symlink chmod chown fchmodat2 prctl arch_prctl seccomp landlock_create_ruleset memfd_create
    memfd_secret inotify_init1 timerfd_create signalfd4 eventfd2 getrandom rseq membarrier statx splice tee sendfile
    copy_file_range sched_setaffinity sched_setscheduler setpriority ioprio_set prlimit64 mlock shmget semget msgget
    mq_open setsid setpgid getuid setuid setgroups capset sync fsync fallocate pidfd_open pidfd_send_signal
    process_mrelease close_range openat2 futex_waitv futex_wait futex_wake futex_requeue mseal map_shadow_stack
    cachestat setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr rseq_slice_yield mknod uretprobe
    rt_sigreturn restart_syscall clock_gettime nanosleep
""".split()


@pytest.mark.parametrize("name", EVERYDAY)
def test_everyday_calls_are_allowed(name: str) -> None:
    assert verdict(name) == "allow"


def test_a_call_that_is_always_refused_is_refused_whatever_its_arguments() -> None:
    code = bpf.decode(program())
    always = [rule for rule in rules() if not rule.when and rule.name in numbers("x86_64")]
    assert len(always) > 80
    for rule in always:
        found = bpf.outcomes(code, numbers("x86_64")[rule.name], bpf.ARCH_X86_64)
        assert [errno_name(rule.errno)] == [str(each) for each in found], rule.name


def test_a_call_without_a_rule_is_allowed_whatever_its_arguments() -> None:
    refused = {rule.name for rule in rules()}
    code = bpf.decode(program())
    for name, number in numbers("x86_64").items():
        if name not in refused:
            assert ["allow"] == [str(each) for each in bpf.outcomes(code, number, bpf.ARCH_X86_64)], name


@pytest.mark.parametrize("request_", [0x5412, 0x541C, 0x5423])
@pytest.mark.parametrize("high", [0, HIGH, 1 << 63, 0xFFFFFFFF << 32])
def test_terminal_input_is_refused_whatever_the_high_bits(request_: int, high: int) -> None:
    assert verdict("ioctl", 0, request_ | high, 0x1234) == "EPERM"


@pytest.mark.parametrize("request_", [0x5401, 0x5413, 0x540F, 0x5410, 0x5411, 0x541B, 0x541D, 0x80045430])
def test_other_terminal_requests_are_allowed(request_: int) -> None:
    assert verdict("ioctl", 0, request_) == "allow"


@pytest.mark.parametrize("flag", NESTED_FLAGS + OTHER_FLAGS)
@pytest.mark.parametrize("with_", [0, 17, 0x100, 0x3D0F00, HIGH])
def test_no_namespace_can_be_made(flag: int, with_: int) -> None:
    assert verdict("clone", flag | with_) == "EPERM"
    assert verdict("unshare", flag | with_) == "EPERM"


def test_threads_and_processes_can_be_made() -> None:
    assert verdict("clone", 0x3D0F00) == "allow"
    assert verdict("clone", 0x1200011) == "allow"
    assert verdict("clone", 0x4111) == "allow"


@pytest.mark.parametrize("flag", NESTED_FLAGS)
def test_nested_permits_what_browsers_need(flag: int) -> None:
    assert verdict("clone", flag | 17, nested=True) == "allow"
    assert verdict("unshare", flag, nested=True) == "allow"
    assert verdict("chroot", nested=True) == "allow"


@pytest.mark.parametrize("flag", OTHER_FLAGS)
@pytest.mark.parametrize("with_", [0, NEWUSER, NEWUSER | NEWPID | NEWNET | NEWIPC])
def test_nested_permits_no_other_namespace(flag: int, with_: int) -> None:
    assert verdict("clone", flag | with_, nested=True) == "EPERM"
    assert verdict("unshare", flag | with_, nested=True) == "EPERM"


def test_nested_permits_no_time_namespace() -> None:
    assert verdict("unshare", NEWTIME | NEWUSER, nested=True) == "EPERM"


def test_nested_opens_nothing_else() -> None:
    closed, opened = bpf.decode(program()), bpf.decode(program(nested=True))
    different = {
        name
        for name, number in numbers("x86_64").items()
        if [str(v) for v in bpf.outcomes(closed, number, bpf.ARCH_X86_64)]
        != [str(v) for v in bpf.outcomes(opened, number, bpf.ARCH_X86_64)]
    }
    assert different == {"unshare", "chroot"}


@pytest.mark.parametrize("family", range(64))
def test_only_four_families_of_sockets(family: int) -> None:
    expected = "allow" if family in (1, 2, 10, 16) else "EAFNOSUPPORT"
    assert expected == verdict("socket", family, 1, 0)
    assert expected == verdict("socket", family | HIGH, 1, 0)
    assert ("allow" if family == 1 else "EAFNOSUPPORT") == verdict("socketpair", family, 1, 0)


def test_a_negative_family_is_refused() -> None:
    assert verdict("socket", -1, 1, 0) == "EAFNOSUPPORT"


@pytest.mark.parametrize("protocol", range(32))
def test_netlink_is_for_interfaces_and_devices(protocol: int) -> None:
    expected = "allow" if protocol in (0, 15) else "EPROTONOSUPPORT"
    assert expected == verdict("socket", 16, 3, protocol)
    assert expected == verdict("socket", 16, 3 | 0x80000, protocol | HIGH)


@pytest.mark.parametrize("family", [2, 10])
def test_internet_sockets_of_common_kinds_are_allowed(family: int) -> None:
    for kind, protocol in ((1, 0), (1, 6), (2, 17), (2, 1), (2, 58), (1, 262), (1 | 0x80800, 0)):
        assert verdict("socket", family, kind, protocol) == "allow"


@pytest.mark.parametrize("family", [2, 10])
def test_rare_transports_are_refused_by_number_and_by_type(family: int) -> None:
    for kind, protocol in (
        (1, 132),
        (5, 132),
        (5, 0),
        (6, 33),
        (6, 0),
        (2, 136),
        (2, 115),
        (5 | 0x80000, 0),
        (5 | HIGH, 0),
    ):
        assert verdict("socket", family, kind, protocol) == "EPROTONOSUPPORT"


def test_local_sockets_of_all_types_are_allowed() -> None:
    assert all(verdict("socket", 1, kind, 0) == "allow" for kind in (1, 2, 5))


@pytest.mark.parametrize("value", [0, 8, 0x20000, 0x20008, 0xFFFFFFFF])
def test_harmless_personalities_are_allowed(value: int) -> None:
    assert verdict("personality", value) == "allow"


@pytest.mark.parametrize("value", [0x40000, 0x400000, 0x40008, 0x440000, 1, 0x8000000, 0xFFFFFFFE, 0x20009])
def test_personalities_that_turn_protections_off_are_refused(value: int) -> None:
    assert verdict("personality", value) == "EPERM"
    assert verdict("personality", value | HIGH) == "EPERM"


def test_graphics_drivers_may_compare_files() -> None:
    assert verdict("kcmp", 1, 2, 0) == "allow"
    assert {"EPERM"} == {verdict("kcmp", 1, 2, kind) for kind in range(1, 9)}


@pytest.mark.parametrize(
    "name",
    (
        "clone3 open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr "
        "open_tree_attr statmount listmount"
    ).split(),
)
def test_calls_with_an_older_way_answer_that_they_dont_exist(name: str) -> None:
    assert verdict(name) == "ENOSYS"


@pytest.mark.parametrize("number", [LATEST + 1, LATEST + 2, 511, 512, 520, 547, 548, 1000, 0x3FFFFFFF])
def test_numbers_to_come_dont_exist(number: int) -> None:
    assert verdict(number) == "ENOSYS"


@pytest.mark.parametrize("number", range(337, 424))
def test_numbers_in_the_gap_dont_exist(number: int) -> None:
    assert verdict(number) == "ENOSYS"


def test_a_debuggers_skipped_call_is_let_through() -> None:
    assert verdict(-1) == "allow"


@pytest.mark.parametrize("number", [0, 59, 101, 319, 520, 521, 547, 0x3FFFFFFE, 0x40000000])
def test_x32_doesnt_exist(number: int) -> None:
    assert verdict(0x40000000 | number) == "ENOSYS"
    assert verdict(0x80000000 | number) == "ENOSYS"


@pytest.mark.parametrize("arch", ["i386", "aarch64"])
def test_another_abi_ends_the_program(arch: str) -> None:
    assert {"kill process"} == {verdict(number, abi=arch) for number in (*range(480), -1, 0x40000001)}


I386 = program('foreign = ["i386"]')
X32 = program('foreign = ["x32"]')
BOTH = program('foreign = ["i386", "x32"]')


@pytest.mark.parametrize(("abi", "filter_"), [("i386", I386), ("x32", X32), ("i386", BOTH), ("x32", BOTH)])
def test_the_same_list_holds_for_a_foreign_abi_that_is_permitted(abi: str, filter_: bytes) -> None:
    code = bpf.decode(filter_)
    always = {rule.name: errno_name(rule.errno) for rule in rules() if not rule.when}
    tested = {rule.name for rule in rules() if rule.when}
    arch = bpf.ARCH_I386 if abi == "i386" else bpf.ARCH_X86_64
    for name, number in numbers(abi).items():
        found = [str(each) for each in bpf.outcomes(code, number, arch)]
        if name in always:
            assert [always[name]] == found, name
        elif name in tested:
            assert found[0] == "allow", name
            assert len(found) > 1, name
        elif name in ("uretprobe", "uprobe"):
            assert found == ["ENOSYS"], name
        else:
            assert found == ["allow"], name


@pytest.mark.parametrize(("abi", "filter_"), [("i386", I386), ("x32", X32), ("i386", BOTH), ("x32", BOTH)])
def test_arguments_are_tested_in_a_foreign_abi_too(abi: str, filter_: bytes) -> None:
    def of(name: str, *arguments: int) -> str:
        return verdict(name, *arguments, abi=abi, filter_=filter_)

    assert of("ioctl", 0, 0x5412) == "EPERM"
    assert of("ioctl", 0, 0x5401) == "allow"
    assert of("clone", NEWUSER | 17) == "EPERM"
    assert of("clone", 17) == "allow"
    assert of("personality", 0x40000) == "EPERM"
    assert of("socket", 38, 5, 0) == "EAFNOSUPPORT"
    assert of("socket", 1, 1, 0) == "allow"
    assert of("socketpair", 30, 5, 0) == "EAFNOSUPPORT"
    assert of("clone3") == "ENOSYS"


def test_i386_makes_no_sockets_where_the_family_cant_be_seen() -> None:
    answers = {number: verdict("socketcall", number, abi="i386", filter_=I386) for number in range(1, 21)}
    assert {number for number, answer in answers.items() if answer != "allow"} == {1, 8}
    assert answers[1] == answers[8] == "ENOSYS"


def test_socketcall_can_be_allowed_by_name() -> None:
    filter_ = program('foreign = ["i386"]\nallow = ["socketcall"]')
    assert verdict("socketcall", 1, abi="i386", filter_=filter_) == "allow"
    assert verdict("socket", 38, abi="i386", filter_=filter_) == "EAFNOSUPPORT"


def test_32_bit_forms_are_refused_in_i386() -> None:
    for name, errno in {
        "umount": "EPERM",
        "stime": "EPERM",
        "clock_settime64": "EPERM",
        "vm86": "EPERM",
        "oldstat": "ENOSYS",
    }.items():
        assert errno == verdict(name, abi="i386", filter_=I386), name


def test_numbers_to_come_dont_exist_in_a_foreign_abi() -> None:
    for number in (LATEST + 1, 511, 512, 548, 9999):
        assert verdict(number, abi="i386", filter_=I386) == "ENOSYS"
    for number in (LATEST + 1, 511, 548, 9999):
        assert verdict(0x40000000 | number, abi="x32", filter_=X32) == "ENOSYS"
    for number in (520, 0):
        assert verdict(0x40000000 | number, abi="x32", filter_=X32) == "allow"


def test_permitting_one_foreign_abi_leaves_the_other_closed() -> None:
    assert verdict(0x40000000, filter_=I386) == "ENOSYS"
    assert verdict(1, abi="i386", filter_=X32) == "kill process"


def test_x86_64_is_filtered_the_same_whatever_else_is_permitted() -> None:
    plain, both = bpf.decode(program()), bpf.decode(BOTH)
    for number in itertools.chain(range(600), [0xFFFFFFFF]):
        first, second = (bpf.outcomes(code, number, bpf.ARCH_X86_64) for code in (plain, both))
        assert [str(each) for each in first] == [str(each) for each in second], number


def test_the_library_agrees_with_our_table_of_newer_calls() -> None:
    library = seccomp._library()
    for name, number in NEWER.items():
        known = library.resolve_syscall(bpf.ARCH_X86_64, name)
        assert known in (number, -1), name
    assert len(set(NEWER.values())) == len(NEWER) == LATEST - 424 + 1


def test_every_number_ends_in_a_verdict_for_every_processor() -> None:
    code = bpf.decode(BOTH)
    for arch in (bpf.ARCH_X86_64, bpf.ARCH_I386, bpf.ARCH_AARCH64, 0, 0xFFFFFFFF):
        for number in (
            *range(600),
            0x40000000,
            0x40000200,
            0x40000224,
            0x7FFFFFFF,
            0x80000000,
            0xFFFFFFFE,
            0xFFFFFFFF,
        ):
            assert bpf.outcomes(code, number, arch)


def test_verdicts_are_those_of_the_program_that_runs() -> None:
    listed = seccomp.verdicts(program(), bpf.ARCH_X86_64)
    assert [str(each) for each in listed["mount"]] == ["EPERM"]
    assert [str(each) for each in listed["ioctl"]] == ["allow", "EPERM"]
    assert [str(each) for each in seccomp.verdicts(program(), seccomp.ARCH_X32)["read"]] == ["ENOSYS"]
    assert [str(each) for each in seccomp.verdicts(program(), bpf.ARCH_I386)["read"]] == ["kill process"]


def test_the_filter_is_short_enough_to_load_fast() -> None:
    """A tree: a list in a row takes more than a hundred instructions for a call at its end."""
    average, most = seccomp.steps(program(), bpf.ARCH_X86_64)
    assert len(program()) <= 8 * 240
    assert average <= 32
    assert most <= 48
