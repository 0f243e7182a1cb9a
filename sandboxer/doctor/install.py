"""
The installation: launcher and Python half side by side, what PATH finds, wrapped entries; and a box for trial.

What comes in: where this program is, the environment. What goes out: checks. The box for trial has the strictest policy
and runs /bin/true: whatever keeps boxes from being made and was not thought of shows there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from sandboxer.doctor.child import Outcome, Steps
from sandboxer.doctor.finding import Check, State, Verdict, fine
from sandboxer.policy.checks import check_name

TRIAL_S = 30.0
ENTRY_SIZE_MAX = 1 << 20
WRAPPED = "--from-menu"
"""The launcher's option that only wrapped entries have."""
POLICY = "X-Sandboxer-Policy"
"""The key in which a wrapped entry names its policy. `desktop.wrappers.wrapper` writes both."""
AGAIN = "pipx reinstall sandboxer-desktop"


def checks(launcher: str, environment: Mapping[str, str], for_a_box: tuple[str, ...]) -> Iterator[Check]:
    """`for_a_box` are the checks without which no box can be made."""
    yield Check(
        name="install",
        title="the installation",
        work=lambda _: _halves(launcher),
        judge=lambda outcome: _judge_halves(outcome, launcher),
    )
    path = environment.get("PATH", "")
    yield Check(
        name="path",
        title="`sandbox` on PATH",
        work=lambda _: shutil.which("sandbox", path=path) or "",
        judge=lambda outcome: _judge_path(outcome, launcher),
        needs=("install",),
    )
    yield Check(
        name="wrappers",
        title="wrapped menu entries",
        work=lambda _: stale_wrappers(_applications(environment)),
        judge=_judge_wrappers,
    )
    yield Check(
        name="trial",
        title="a box for trial",
        work=lambda step: _try_box(step, launcher, environment),
        judge=_judge_trial,
        needs=(*for_a_box, "install"),
        seconds=TRIAL_S + 5,
    )


def _halves(launcher: str) -> dict[str, Any]:
    """What is wrong, as short texts."""
    faults = []
    directory = os.path.dirname(launcher)
    for name, path in (("launcher", launcher), ("Python half", f"{directory}/sandboxer")):
        if not (os.path.isfile(path) and os.access(path, os.X_OK)):
            faults.append(f"{path} ({name}): not there, or not executable")
    set_uid = os.path.exists(launcher) and bool(os.stat(launcher).st_mode & (stat.S_ISUID | stat.S_ISGID))
    client = f"{directory}/sandbox-broker"
    return {"faults": faults, "set-uid": set_uid, "client": os.access(client, os.X_OK)}


def _judge_halves(outcome: Outcome, launcher: str) -> Verdict:
    directory = os.path.dirname(launcher)
    if outcome.failed or outcome.value["faults"]:
        return Verdict(
            state=State.UNUSABLE,
            found=outcome.told() if outcome.failed else "; ".join(outcome.value["faults"]),
            cause="The programs `sandbox` and `sandboxer` belong into one directory, and one of them is missing.",
            remedy=AGAIN,
            lost="nothing starts",
        )
    if outcome.value["set-uid"]:
        return Verdict(
            state=State.UNUSABLE,
            found=f"{launcher} is set-uid or set-gid",
            cause="Somebody has given the launcher another user's rights. It needs none, and refuses to run with them.",
            remedy=f"sudo chmod ug-s {shlex.quote(launcher)}",
            lost="nothing starts",
        )
    if not outcome.value["client"]:
        return Verdict(
            state=State.DEGRADED,
            found=f"{directory}/sandbox-broker: not there, or not executable",
            cause="The program with which a box asks its broker is missing.",
            remedy=AGAIN,
            lost="applications with a broker ([broker] in a policy) can't ask it by command, nor open links outside",
        )
    return fine(directory)


def _judge_path(outcome: Outcome, launcher: str) -> Verdict:
    found = outcome.value
    directory = os.path.dirname(launcher)
    if found and os.path.realpath(found) == os.path.realpath(launcher):
        return fine(found)
    if found:
        return Verdict(
            state=State.DEGRADED,
            found=f"PATH finds {found}, this is {launcher}",
            cause="Another program of this name comes first (SELinux's policycoreutils has one), or another "
            "installation.",
            remedy=f'export PATH={shlex.quote(directory)}:"$PATH"',
            lost="`sandbox APP` in a terminal starts that other program; wrapped entries aren't affected",
        )
    return Verdict(
        state=State.DEGRADED,
        found=f"PATH doesn't have {directory}",
        cause="The directory of the launcher isn't in PATH.",
        remedy=f'export PATH={shlex.quote(directory)}:"$PATH"',
        lost="`sandbox APP` isn't found in a terminal; wrapped entries aren't affected",
    )


def _applications(environment: Mapping[str, str]) -> str:
    data = environment.get("XDG_DATA_HOME", "")
    if not data.startswith("/"):
        data = f"{environment.get('HOME', '')}/.local/share"
    return f"{data}/applications"


def stale_wrappers(directory: str) -> dict[str, tuple[str, str]]:
    """Wrapped entries in a directory whose launcher isn't there, each with the path that it names, and its policy."""
    stale = {}
    for entry in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        path = f"{directory}/{entry}"
        if not entry.endswith(".desktop") or not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            content = file.read(ENTRY_SIZE_MAX)
        lines = content.splitlines()
        policy = next((line.partition("=")[2] for line in lines if line.startswith(f"{POLICY}=")), "")
        for program in map(_wrapper_program, lines):
            if program and not os.access(program, os.X_OK):
                stale[entry] = (program, policy)
    return stale


def _wrapper_program(line: str) -> str:
    """The launcher that an entry's line starts; "" for lines that start none."""
    key, _, value = line.partition("=")
    if key.strip() != "Exec" or WRAPPED not in value:
        return ""
    try:
        words = shlex.split(value)
    except ValueError:
        return ""
    return words[0] if words and words[0].startswith("/") else ""


def _judge_wrappers(outcome: Outcome) -> Verdict:
    if outcome.failed:
        return Verdict(
            state=State.DEGRADED,
            found=outcome.told(),
            cause="The directory of your menu entries can't be read.",
            remedy="chmod u+rwx ~/.local/share/applications",
            lost="entries can't be wrapped",
        )
    stale: dict[str, tuple[str, str]] = outcome.value
    if not stale:
        return fine("all lead to a launcher")
    named = {policy for _, policy in stale.values() if check_name(policy) is None}
    names = ", ".join(list(stale)[:5]) + (" …" if len(stale) > 5 else "")
    return Verdict(
        state=State.DEGRADED,
        found=f"{names}: {next(iter(stale.values()))[0]} isn't there",
        cause="These entries were wrapped by an installation that is gone.",
        remedy=f"sandbox install {' '.join(map(shlex.quote, sorted(named))) or '--all'}",
        lost="these applications don't start from the menu",
    )


def _try_box(step: Steps, launcher: str, environment: Mapping[str, str]) -> dict[str, Any]:
    step("sandbox run -- /bin/true")
    done = subprocess.run(
        [launcher, "run", "--", "/bin/true"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TRIAL_S,
        check=False,
    )
    return {"status": done.returncode, "said": done.stderr.decode(errors="replace")[:4096]}


def _judge_trial(outcome: Outcome) -> Verdict:
    if not outcome.failed and outcome.value["status"] == 0:
        return fine("starts and ends")
    said = tuple(outcome.value["said"].splitlines()) if not outcome.failed else ()
    tries = [line.partition("try: ")[2] for line in said if "try: " in line and "sandbox doctor" not in line]
    return Verdict(
        state=State.UNUSABLE,
        found=outcome.told() if outcome.failed else f"ends with status {outcome.value['status']}",
        cause="What a box needs works when it is tried alone, but a box with the strictest policy doesn't start.",
        remedy=tries[0] if tries else "report this, with the output of: sandbox --debug run -- true",
        lost="nothing starts",
        evidence=said,
    )
