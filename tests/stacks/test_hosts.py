"""Hosts `process` and `python` on real processes: the contract, whole trees, zygotes, ports in use, what a child inherits."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import socket

import pytest

from harness.errors import InjectError, UnsafeError
from harness.model.ports import Identity
from harness.stacks.launch import StateDir
from harness.stacks.process import KIND as PROCESS
from harness.stacks.process import ProcessHost
from harness.stacks.procfs import alive, read_stat
from harness.stacks.python import KIND as PYTHON
from harness.stacks.python import PythonHost
from harness.stacks.wire import allocate
from harness.testing.conformance import check_host

pytestmark = [pytest.mark.live, pytest.mark.slow]


def state_of(pid: int) -> str:
    stat = read_stat(pid)
    return "gone" if stat is None or stat.ended else stat.state


@pytest.mark.parametrize("kind", ["program", "function"])
async def test_keeps_the_contract_of_a_host(rig, kind) -> None:
    getattr(rig, kind)("a", "serve", "${port:http}", ports={"http": None})
    wiring = rig.wiring()
    await check_host(lambda: rig.host("a", wiring), ProcessHost if kind == "program" else PythonHost)


@pytest.mark.parametrize("kind", ["program", "function"])
@pytest.mark.parametrize("shape", ["nest", "double"])
async def test_the_tree_holds_every_descendant_whatever_its_session(rig, kind, shape) -> None:
    getattr(rig, kind)("a", shape, "pids")
    host = rig.host("a")
    identity = await host.start()
    pids = await rig.noted("pids", 3 if shape == "nest" else 2)
    assert identity.pid in pids
    assert len({os.getsid(pid) for pid in pids}) == len(pids), "each has a session of its own"
    await host.freeze(identity)
    assert [state_of(pid) for pid in pids] == ["T"] * len(pids)
    await host.thaw(identity)
    assert "T" not in [state_of(pid) for pid in pids]
    await host.kill(identity)
    assert [state_of(pid) for pid in pids] == ["gone"] * len(pids)


async def test_orphans_of_a_root_that_died_alone_go_before_it_starts_again(rig) -> None:
    rig.program("a", "double", "pids")
    host = rig.host("a")
    identity = await host.start()
    pids = await rig.noted("pids", 2)
    (orphan,) = set(pids) - {identity.pid}
    os.kill(identity.pid, signal.SIGKILL)
    while await host.find() is not None:
        await asyncio.sleep(0.01)
    assert state_of(orphan) != "gone"
    again = await host.start()
    assert again != identity
    assert state_of(orphan) == "gone"


async def test_a_reused_number_is_never_signalled(rig) -> None:
    rig.program("a", "nest", "pids")
    host = rig.host("a")
    real = await host.start()
    stranger = Identity(pid=real.pid, start_ticks=real.start_ticks - 1)  # as if the number had changed hands
    await host.kill(stranger)
    with pytest.raises(InjectError, match="is gone or another process now"):
        await host.freeze(stranger)
    await host.thaw(stranger)
    assert not await host.frozen(stranger)
    assert await host.find() == real
    pids = await rig.noted("pids", 3)
    assert {state_of(pid) for pid in pids} <= {"S", "R"}


async def test_a_zombie_is_nobody(rig) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        stat = read_stat(pid)
        assert stat is not None
        assert stat.state == "Z"
        assert alive(pid, stat.start_ticks) is None
    finally:
        os.waitpid(pid, 0)


async def test_sixteen_instances_come_from_one_zygote(rig) -> None:
    for number in range(16):
        rig.function(f"i{number}", "serve", "${port:http}", ports={"http": None}, preload=["json", "http.client"])
    wiring = rig.wiring()
    hosts = [rig.host(name, wiring) for name in rig.instances]
    found = await asyncio.gather(*(host.start() for host in hosts))
    assert len({identity.pid for identity in found}) == 16
    parents = {read_stat(identity.pid).ppid for identity in found}
    assert len(parents) == 1, "each fell to the process host, which reaps it"
    assert StateDir(rig.settings.state_dir).hostd().pid in parents
    await asyncio.gather(*(host.kill(identity) for host, identity in zip(hosts, found, strict=True)))
    assert [await host.find() for host in hosts] == [None] * 16


async def test_a_forked_instance_looks_like_an_ordinary_process(rig) -> None:
    code = """
import os, random, signal, sys
def main(argv):
    fds = []
    for fd in os.listdir("/proc/self/fd"):
        try: fds.append(os.readlink("/proc/self/fd/" + fd))
        except OSError: pass
    ignored = [s.name for s in signal.valid_signals() if isinstance(s, signal.Signals) and signal.getsignal(s) == signal.SIG_IGN]
    print(argv, sys.argv, os.getcwd(), os.environ["COLOUR"], sorted(set(fds)), ignored, random.random(), sep="|")
    return 7
"""
    (rig.folder / "looker.py").write_text(code)
    for name in ("a", "b"):
        rig.function(name, "x", "1")
        params = rig.instances[name].host.params
        params.update(python="looker:main", env={"COLOUR": "${dir}"}, preload=["random"])
    wiring = rig.wiring()
    said = []
    for name in ("a", "b"):
        host = rig.host(name, wiring)
        await host.start()
        while await host.find() is not None:
            await asyncio.sleep(0.01)
        said.append(rig.log(name).strip().split("|"))
    argv, sys_argv, cwd, colour, fds, ignored, drawn = said[0]
    assert argv == "['x', '1']"
    assert sys_argv == "['looker', 'x', '1']"
    assert cwd == str(rig.folder)
    assert colour == str(rig.folder / "dirs" / "a")
    assert "socket" not in fds
    assert "pipe" not in fds
    # What a shell had its background job ignore is inherited; beyond that it is what Python ignores in every program.
    inherited = {s.name for s in signal.valid_signals() if signal.getsignal(s) is signal.SIG_IGN}
    assert set(ast.literal_eval(ignored)) == {"SIGPIPE", "SIGXFSZ"} | (inherited - {"SIGINT"})
    assert drawn != said[1][6], "chance is reseeded in every fork"
    rows = (await rig.hosts["a"]._client.request({"do": "list"}, 5_000_000_000))["instances"]
    assert [(row["instance"], row["running"], row["exit_code"]) for row in rows] == [("a", False, 7), ("b", False, 7)]


async def test_a_forked_instance_shows_its_own_command_line(rig) -> None:
    rig.function("shown", "stubborn", "pids")
    identity = await rig.host("shown").start()
    with open(f"/proc/{identity.pid}/cmdline", "rb") as file:
        assert file.read().rstrip(b"\0").split(b"\0") == [b"python", b"-m", b"program", b"stubborn", b"pids"]
    with open(f"/proc/{identity.pid}/comm") as file:
        assert file.read() == "shown\n"


async def test_a_port_in_use_is_refused_by_name_of_its_owner(rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        rig.program("a", "serve", str(port), ports={"http": port})
        with pytest.raises(UnsafeError) as refused:
            await rig.host("a").start()
    assert f"instance a: port http = 127.0.0.1:{port} is in use by pid {os.getpid()} (" in str(refused.value)
    assert await rig.hosts["a"].find() is None


async def test_a_port_of_closed_connections_is_free(rig) -> None:
    rig.program("a", "serve", "${port:http}", ports={"http": None})
    wiring = rig.wiring()
    host = rig.host("a", wiring)
    first = await host.start()
    port = wiring.ports["a"]["http"]
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            await asyncio.sleep(0.05)
    await host.kill(first)
    assert await host.start() != first


async def test_what_cannot_be_run_says_so(rig) -> None:
    rig.program("a")
    rig.instances["a"].host.params["process"] = ["no-such-program", "x"]
    with pytest.raises(UnsafeError, match=r"instance a: cannot run 'no-such-program' in .*: No such file or directory"):
        await rig.host("a").start()
    rig.function("b", "x", preload=["no_such_module"])
    with pytest.raises(UnsafeError, match=r"cannot start program:main: preload 'no_such_module': ModuleNotFoundError"):
        await rig.host("b").start()


async def test_stop_says_whether_it_ended_by_itself(rig) -> None:
    rig.program("stubborn", "stubborn", "pids")
    rig.program("meek", "serve", "${port:http}", ports={"http": None})
    wiring = rig.wiring()
    stubborn, meek = rig.host("stubborn", wiring), rig.host("meek", wiring)
    await stubborn.start()
    await meek.start()
    await rig.noted("pids", 1)
    assert await stubborn.stop(100_000_000) is False
    assert await meek.stop(10_000_000_000) is True
    assert await stubborn.find() is None
    assert await meek.find() is None


async def test_files_and_preparation_come_once_and_stay(rig) -> None:
    (rig.folder / "app.conf").write_text("depth = 1\n")
    prepare = (("sh", "-c", "cat ${dir}/app.conf >> ${dir}/prepared"), ("sh", "-c", "echo done >> ${dir}/prepared"))
    rig.program("a", "stubborn", "${dir}/pids", files=("app.conf",), prepare=prepare)
    host = rig.host("a")
    identity = await host.start()
    own = rig.folder / "dirs" / "a"
    assert (own / "prepared").read_text() == "depth = 1\ndone\n"
    await rig.noted("dirs/a/pids", 1)
    await host.kill(identity)
    await host.start()
    assert (own / "prepared").read_text() == "depth = 1\ndone\n", "not prepared again"
    await rig.noted("dirs/a/pids", 2)


async def test_a_failed_preparation_starts_nothing(rig) -> None:
    rig.program("a", "stubborn", "pids", prepare=(("sh", "-c", "echo no room; exit 3"),))
    with pytest.raises(UnsafeError, match=r"instance a: prepare .* ended with 3: no room"):
        await rig.host("a").start()
    assert await rig.hosts["a"].find() is None
    assert rig.log("a") == "no room\n"


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("kind", ["program", "function"])
async def test_runs_as_the_user_given(rig, kind) -> None:
    for folder in (rig.folder, *rig.folder.parents[:3]):
        if folder.stat().st_uid == os.geteuid() and str(folder) != "/tmp":
            folder.chmod(0o755)
    # That user may not be able to read the interpreter's own files: the shell, or what the zygote has imported, must do.
    more = {"preload": ["signal", "socket"]} if kind == "function" else {}
    one = getattr(rig, kind)("a", "stubborn", "${dir}/pids", user="20001", **more)
    if kind == "program":
        one.host.params["process"] = ["sh", "-c", "echo $$$$ > ${dir}/pids; exec sleep 60"]
    host = rig.host("a")
    identity = await host.start()
    await rig.noted("dirs/a/pids", 1)
    assert os.stat(f"/proc/{identity.pid}").st_uid == 20001
    assert (rig.folder / "dirs" / "a").stat().st_uid == 20001
    await host.freeze(identity)
    assert await host.frozen(identity)
    await host.kill(identity)


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_the_user_given_may_pass_through_the_state_directory_and_not_look_around(rig) -> None:
    for folder in (rig.folder, *rig.folder.parents[:3]):
        if folder.stat().st_uid == os.geteuid() and str(folder) != "/tmp":
            folder.chmod(0o755)
    state = rig.folder / "state"
    state.mkdir(mode=0o700)
    one = rig.program("a", "stubborn", user="20001")
    one.host.params.update({"process": ["sh", "-c", "echo $$$$ > ${dir}/pids; exec sleep 60"], "cwd": "${dir}"})
    host = rig.host("a", allocate(rig.stack(), str(state)))
    await host.start()
    await rig.noted("state/dirs/a/pids", 1)
    assert state.stat().st_mode & 0o777 == 0o701
    ls = await asyncio.create_subprocess_exec("ls", str(state), user=20001, stdout=-3, stderr=-3)
    assert await ls.wait() != 0


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_a_folder_above_that_keeps_the_user_out_is_not_opened(rig) -> None:
    rig.folder.chmod(0o700)
    rig.program("a", "stubborn", "pids", user="20001")
    with pytest.raises(
        UnsafeError, match=r"instance a: user '20001' cannot reach its directory .* keeps other users out"
    ):
        await rig.host("a").start()
    assert rig.folder.stat().st_mode & 0o777 == 0o700


def test_kinds_refuse_what_they_do_not_know() -> None:
    for kind, good in ((PROCESS, {"process": ["x"]}), (PYTHON, {"python": "a.b:main"})):
        assert kind.params.model_validate(good).can_start  # type: ignore[attr-defined]
        assert callable(kind.load())
        with pytest.raises(ValueError, match="Extra inputs"):
            kind.params.model_validate({**good, "cmd": "x"})
    with pytest.raises(ValueError, match="pattern"):
        PYTHON.params.model_validate({"python": "a.b.main"})
