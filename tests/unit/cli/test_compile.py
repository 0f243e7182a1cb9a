"""A request becomes a plan: the verbs in order, on a machine made of a dict."""

from __future__ import annotations

import os
from pathlib import Path

import machines
import pytest
from fakes import Directory, FakeHost

from sandboxer.cli.compile import compile_plan
from sandboxer.cli.request import Request, app_request, run_request
from sandboxer.errors import PolicyError
from sandboxer.host.view import User
from sandboxer.plan.ops import OpKind, Plan, PlanFlag
from sandboxer.words import HostPath


def machine(home: Path, directory: str = "") -> FakeHost:
    """A machine whose home is a real directory, since private homes are made."""
    user = User(name="ann", uid=os.getuid() or 1000, gid=1000, group="ann", home=HostPath(str(home)))
    tree = {
        **machines.DEBIAN,
        **machines.shipped_policies(),
        f"{home}/work": Directory(),
        "/tmp/.X11-unix/X0": machines.SOCKET,
    }
    host = FakeHost(tree, user=user, working_directory=directory or str(home), variables={"DISPLAY": ":0"})
    host.add("/usr/bin/xterm", "")
    return host


def plan_of(request: Request, host: FakeHost, filters: Path) -> Plan:
    verbs: list[str] = []
    plan, image = compile_plan(
        request, host, str(filters), lambda verb, _time, _text: verbs.append(verb)
    )
    assert ["parse", "resolve", "build", "encode"] == verbs
    assert image.startswith(b"SBXPLAN3")
    return plan


@pytest.mark.skipif(os.getuid() == 0, reason="a private home is made for the user who runs this")
def test_an_application_gets_its_private_home_made(tmp_path: Path) -> None:
    plan = plan_of(app_request(["xterm"], debug=False), machine(tmp_path), tmp_path / "filters")
    assert (tmp_path / ".local/share/sandboxer/homes/xterm").is_dir()
    assert ("/usr/bin/xterm",) == plan.command


def test_a_command_gets_the_strict_set_and_no_notice(tmp_path: Path) -> None:
    plan = plan_of(run_request(["run", "--", "true"], debug=False), machine(tmp_path), tmp_path / "filters")
    assert ("strict", "", ()) == (plan.app, plan.notice, plan.command)
    assert PlanFlag.PRIVATE_NETWORK in plan.flags
    assert PlanFlag.BY_DIRECTORY not in plan.flags


def test_a_policy_that_depends_on_the_directory_is_for_that_directory(tmp_path: Path) -> None:
    request = run_request(["run", "--policy", "cli", "--", "true"], debug=False)
    plan = plan_of(request, machine(tmp_path, f"{tmp_path}/work"), tmp_path / "filters")
    assert PlanFlag.BY_DIRECTORY in plan.flags or "DIRECTORY" not in {s.kind.name for s in plan.stamps}
    assert f"{tmp_path}/work" in {str(op.box_path) for op in plan.ops if op.kind is OpKind.BIND}


def test_settings_and_switches_of_the_command_line_hold(tmp_path: Path) -> None:
    words = ["run", "--set", 'network.access="host"', "--keep-fd", "5", "--die-with-parent", "--", "true"]
    plan = plan_of(run_request(words, debug=False), machine(tmp_path), tmp_path / "filters")
    assert (5,) == plan.keep_fds
    assert PlanFlag.DIE_WITH_PARENT in plan.flags
    assert PlanFlag.PRIVATE_NETWORK not in plan.flags


def test_a_policy_that_was_named_must_exist(tmp_path: Path) -> None:
    request = run_request(["run", "--policy", "nosuch", "--", "true"], debug=False)
    with pytest.raises(PolicyError):
        plan_of(request, machine(tmp_path), tmp_path / "filters")
