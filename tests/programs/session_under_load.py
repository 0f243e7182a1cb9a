"""
What a session's user measures of boxes with limits, in a machine where the session's manager has all controllers: see
tests/desktop/test_limits_in_a_machine.py. Prints one object of JSON with the figures; asserts nothing.
"""

import glob
import json
import os
import signal
import subprocess
import sys
import time

CGROUPS = "/sys/fs/cgroup"
BELOW = f"/user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service/app.slice"
SCOPES = f"{CGROUPS}{BELOW}/app-sandboxer-*.scope"
MEMORY, TASKS, CPU = 80 << 20, 48, 25
LATENCY_RUNS = 11
HOG = """
import sys
held = []
while True:
    held.append(bytearray(b"x") * (4 << 20))
    print(len(held) * 4, flush=True)
"""
BOMB = """
import os, sys, time
refused = 0
end = time.monotonic() + 4
print("begun", flush=True)
while time.monotonic() < end:
    try:
        if os.fork() == 0:
            continue
    except OSError as error:
        if refused == 0:
            print(error.strerror, flush=True)
        refused += 1
"""
SPIN = """
import time
print("begun", flush=True)
end = time.monotonic() + 2.5
while time.monotonic() < end:
    pass
print(time.process_time())
"""


def box(*words, **limits):
    """A box that is started; its words come by `stdout`."""
    settings = [
        word for name, value in limits.items() for word in ("--set", f"limits.{name}={json.dumps(value)}")
    ]
    return subprocess.Popen(
        ["sandbox", "run", *settings, "--", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def file(scope, name):
    try:
        with open(f"{scope}/{name}") as opened:
            return opened.read().strip()
    except OSError as error:
        return error.strerror


def table(scope, name):
    """A flat keyed file, such as memory.events."""
    return {
        key: int(value) for key, _, value in (line.partition(" ") for line in file(scope, name).splitlines())
    }


def the_scope():
    found = glob.glob(SCOPES)
    return found[0] if len(found) == 1 else f"not one but {found}"


def gone():
    """Wait for the end of every box's scope."""
    deadline = time.monotonic() + 10
    while glob.glob(SCOPES) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not glob.glob(SCOPES)


def latency():
    """Milliseconds that a small command outside takes: the middle one, and the worst of LATENCY_RUNS."""
    taken = []
    for _ in range(LATENCY_RUNS):
        start = time.monotonic()
        subprocess.run(["/bin/true"], check=True)
        taken.append(1000 * (time.monotonic() - start))
        time.sleep(0.02)
    return {"middle": round(sorted(taken)[LATENCY_RUNS // 2], 1), "worst": round(max(taken), 1)}


def manager():
    done = subprocess.run(
        ["systemctl", "--user", "is-system-running"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def show(scope, *names):
    words = [
        "systemctl",
        "--user",
        "show",
        os.path.basename(scope),
        *(f"--property={name}" for name in names),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def ended(process, given=""):
    out, err = process.communicate(given, timeout=30)
    return {"status": process.returncode, "out": sorted(set(out.splitlines())), "err": err}


def place():
    """The box's first act is to ask where it is: as it is the root of what it sees, later is where it was then."""
    process = box(
        "sh",
        "-c",
        "read first </proc/self/cgroup; echo $first; read go; read last </proc/self/cgroup; echo $last",
    )
    first = process.stdout.readline().strip()
    scope = the_scope()
    outside = sorted({file(f"/proc/{pid}", "comm") for pid in file(scope, "cgroup.procs").split()})
    last = process.communicate("go\n", timeout=10)[0].strip()
    return {"first": first, "last": last, "scope": scope.removeprefix(CGROUPS), "processes": outside}


def memory():
    shell = 'python3 -c "$1"; echo "hog $?"; read go; echo "the box goes on"'
    process = box("sh", "-c", shell, "sh", HOG, memory=f"{MEMORY >> 20}MiB")
    reached, used, scope = 0, 0, ""
    before = table(f"{CGROUPS}{BELOW}", "memory.events")
    while (line := process.stdout.readline().strip()).isdigit():
        reached = int(line)
        if not scope:
            scope = the_scope()
            limit, swap = file(scope, "memory.max"), file(scope, "memory.swap.max")
        used = max(used, int(file(scope, "memory.current")))
    after = table(f"{CGROUPS}{BELOW}", "memory.events")  # the slice's: a manager may end the scope at once
    return {
        "reached MiB": reached,
        "end": line,
        "max": limit,
        "swap": swap,
        "most used": used,
        "killed": after["oom_kill"] - before["oom_kill"],
        "manager": manager(),
        "latency": latency(),
    } | ended(process, "go\n")


def bombed(scope):
    """What is seen of a fork bomb while it goes off."""
    time.sleep(0.5)
    return {
        "during": latency(),
        "manager": manager(),
        "max": file(scope, "pids.max"),
        "now": file(scope, "pids.current"),
        "events": table(scope, "pids.events"),
    }


def tasks():
    before = latency()
    process = box("python3", "-c", BOMB, tasks=TASKS)
    process.stdout.readline()
    found = {"before": before} | bombed(the_scope())
    process.send_signal(signal.SIGTERM)
    return found | ended(process)


def tasks_of_the_group():
    """As `tasks`, but the kernel's limit on processes, which refuses first, is far away: the group alone holds it."""
    process = box("sh", "-c", 'echo begun; read go; exec python3 -c "$1"', "sh", BOMB, tasks=100 * TASKS)
    process.stdout.readline()
    scope = the_scope()
    words = ["systemctl", "--user", "set-property", "--runtime", os.path.basename(scope), f"TasksMax={TASKS}"]
    subprocess.run(words, check=True)
    process.stdin.write("go\n")
    process.stdin.flush()
    process.stdout.readline()
    found = bombed(scope)
    process.send_signal(signal.SIGTERM)
    return found | ended(process)


def cpu():
    process = box("python3", "-c", SPIN, cpu=f"{CPU}%")
    process.stdout.readline()
    scope = the_scope()
    first, start = table(scope, "cpu.stat"), time.monotonic()
    time.sleep(1.5)
    last, took = table(scope, "cpu.stat"), time.monotonic() - start
    return {
        "max": file(scope, "cpu.max"),
        "used": round((last["usage_usec"] - first["usage_usec"]) / 1e6 / took, 3),
        "throttled": last["nr_throttled"] - first["nr_throttled"],
        "latency": latency(),
    } | ended(process)


def io():
    process = box("sh", "-c", "echo begun; read go", **{"io-weight": 30})
    process.stdout.readline()
    scope = the_scope()
    words = ["sandbox", "explain", "strict", "--set", "limits.io-weight=30"]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    return (
        show(scope, "IOWeight", "TasksMax", "Slice", "MemoryMax")
        | {"file": file(scope, "io.weight"), "explained": said.stdout}
        | ended(process, "go\n")
    )


def main():
    figures = {}
    for measure in (place, place, memory, tasks, tasks_of_the_group, cpu, io):
        name = measure.__name__ if measure.__name__ not in figures else f"{measure.__name__} again"
        start = time.monotonic()
        try:
            figures[name] = measure()
        except Exception as error:  # noqa: BLE001  # the test shows it
            figures[name] = {"failed": repr(error)}
        figures[name]["gone"] = gone()
        figures[name]["seconds"] = round(time.monotonic() - start, 1)
    json.dump(figures, sys.stdout)


main()
