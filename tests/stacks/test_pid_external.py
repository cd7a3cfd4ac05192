"""Hosts `pid` and `external`: attached to what runs, brought back only by its own command, refused where nothing is ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from harness.errors import InjectError, UnsafeError
from harness.model.ports import HostSettings, Identity
from harness.model.stack import HostSpec, Instance
from harness.model.wiring import Wiring
from harness.stacks.client import end_stack
from harness.stacks.external import KIND as EXTERNAL
from harness.stacks.external import ExternalHost, endpoint
from harness.stacks.pid import KIND, PidHost
from harness.stacks.procfs import read_stat
from harness.testing.conformance import check_host

DAEMON = """
import os, signal, sys, time
if os.fork():
    os._exit(0)
os.setsid()
signal.alarm(60)
with open(sys.argv[1] + ".half", "w") as file:
    file.write(f"{os.getpid()}\\n")
os.rename(sys.argv[1] + ".half", sys.argv[1])
for session in ("the same", "its own"):
    if os.fork() == 0:
        signal.alarm(60)
        if session == "its own":
            os.setsid()
        break
with open(sys.argv[1] + ".all", "a") as file:
    file.write(f"{os.getpid()}\\n")
while True:
    time.sleep(0.05)
"""


def pid_host(folder, **params) -> PidHost:
    settings = HostSettings(run_id="r", state_dir=str(folder), log_dir=str(folder / "logs"), base_dir=str(folder))
    return PidHost(Instance(name="gw", host=HostSpec(kind="pid", params=params)), Wiring(), settings)


@pytest.fixture
def daemon(tmp_path):
    """Parameters of a host whose program puts itself into the background and writes its number to x.pid."""
    (tmp_path / "daemon.py").write_text(DAEMON)
    yield {"pid": {"file": "x.pid"}, "start": [sys.executable, "daemon.py", "x.pid"]}
    for line in (tmp_path / "x.pid.all").read_text().split() if (tmp_path / "x.pid.all").exists() else []:
        stat = read_stat(int(line))
        if stat is not None and not stat.ended:
            os.kill(int(line), signal.SIGKILL)


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.mark.live
@pytest.mark.slow
async def test_keeps_the_contract_of_a_host(tmp_path, daemon) -> None:
    await check_host(lambda: pid_host(tmp_path, **daemon), PidHost)


@pytest.mark.live
@pytest.mark.slow
async def test_the_tree_of_an_attached_daemon(tmp_path, daemon, rig) -> None:
    host = pid_host(tmp_path, **daemon)
    identity = await host.start()
    pids = await rig.noted("x.pid.all", 3)
    await host.freeze(identity)
    assert [read_stat(pid).state for pid in pids] == ["T"] * 3
    os.kill(identity.pid, signal.SIGKILL)  # its children are orphans now, still stopped
    revived = PidHost.revive(host.recipe())
    await revived.thaw(identity)
    assert {read_stat(pid).state for pid in set(pids) - {identity.pid}} <= {"S", "R"}


@pytest.mark.live
@pytest.mark.slow
async def test_the_end_of_the_stack_leaves_no_attached_one_stopped(tmp_path, daemon, rig) -> None:
    host = pid_host(tmp_path, **daemon)
    identity = await host.start()
    pids = await rig.noted("x.pid.all", 3)
    await host.freeze(identity)
    assert await end_stack(str(tmp_path)) == ()
    assert {read_stat(pid).state for pid in pids} <= {"S", "R"}


async def test_a_number_means_that_process_alone(tmp_path, sleeper) -> None:
    host = pid_host(tmp_path, pid=sleeper.pid)
    found = await host.find()
    assert found == Identity(pid=sleeper.pid, start_ticks=read_stat(sleeper.pid).start_ticks)
    reused = dict(host.recipe(), start_ticks=found.start_ticks - 1)
    assert await PidHost.revive(reused).find() is None, "its number went to another"
    await host.kill(Identity(pid=found.pid, start_ticks=found.start_ticks - 1))
    assert sleeper.poll() is None
    await host.kill(found)
    sleeper.wait()
    assert await host.find() is None
    with pytest.raises(UnsafeError, match=r"instance gw: not running \(process \d+ is gone\), and nothing says how"):
        await host.start()


async def test_a_stale_pid_file_names_nobody(tmp_path, sleeper) -> None:
    file = tmp_path / "x.pid"
    host = pid_host(tmp_path, pid={"file": "x.pid"})
    assert await host.find() is None
    file.write_text(f"{sleeper.pid}\n")
    assert (await host.find()).pid == sleeper.pid
    os.utime(file, (1, 1))  # written long before that process began
    assert await host.find() is None
    with pytest.raises(UnsafeError, match=rf"names {sleeper.pid} \(sleep 60\), which began after the file was written"):
        await host.start()
    file.write_text("soon\n")
    with pytest.raises(UnsafeError, match="holds no process number"):
        await host.start()


async def test_a_start_command_that_fails_says_why(tmp_path) -> None:
    host = pid_host(tmp_path, pid={"file": "x.pid"}, start=["sh", "-c", "echo no licence; exit 4"])
    with pytest.raises(UnsafeError, match=r"start command .* ended with 4: no licence"):
        await host.start()


async def test_we_are_nobodys_target(tmp_path) -> None:
    host = pid_host(tmp_path, pid=os.getppid())
    identity = await host.find()
    with pytest.raises(UnsafeError, match="is an ancestor of Blackstart itself"):
        await host.freeze(identity)
    with pytest.raises(UnsafeError, match="is an ancestor of Blackstart itself"):
        await host.kill(identity)


def test_pid_can_start_only_with_a_command() -> None:
    assert not KIND.params.model_validate({"pid": 1234}).can_start  # type: ignore[attr-defined]
    assert KIND.params.model_validate({"pid": {"file": "x"}, "start": ["y"]}).can_start  # type: ignore[attr-defined]
    assert KIND.load() is PidHost


async def test_external_is_there_and_refuses_everything_else(tmp_path) -> None:
    settings = HostSettings(run_id="r", state_dir=str(tmp_path), log_dir=str(tmp_path), base_dir=str(tmp_path))
    spec = HostSpec(kind="external", params={"external": "https://llm.internal:8443"})
    host = ExternalHost(Instance(name="llm", host=spec), Wiring(), settings)
    nobody = Identity()
    assert await host.find() == nobody
    assert await host.start() == nobody
    for attempt in (host.stop(0), host.kill(nobody), host.freeze(nobody)):
        with pytest.raises(UnsafeError, match=r"instance llm is external and cannot be .*; put a link in front of it"):
            await attempt
    await host.thaw(nobody)
    assert not await host.frozen(nobody)
    assert ExternalHost.revive(host.recipe()).instance == "llm"
    assert EXTERNAL.load() is ExternalHost


def test_an_external_endpoint_has_a_host_and_a_port() -> None:
    assert endpoint("https://llm.internal") == ("llm.internal", 443)
    assert endpoint("tcp://10.0.0.1:9000") == ("10.0.0.1", 9000)
    with pytest.raises(ValueError, match="a host and a port"):
        EXTERNAL.params.model_validate({"external": "llm.internal"})


async def test_freezing_no_process_is_refused(tmp_path) -> None:
    with pytest.raises(InjectError, match="is no process"):
        await pid_host(tmp_path, pid=1).freeze(Identity(container="abc"))
