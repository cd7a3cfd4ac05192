"""kill, stop, pause, restart on real processes: the contract on every host, the reaper's view, and what each must refuse."""

from __future__ import annotations

import socket

import pytest

from harness.errors import InjectError, RevertError
from harness.faults.kill import KIND as KILL
from harness.faults.kill import Kill, KillParams
from harness.faults.pause import KIND as PAUSE
from harness.faults.pause import Pause, PauseParams
from harness.faults.restart import KIND as RESTART
from harness.faults.restart import Restart, RestartParams
from harness.faults.stop import KIND as STOP
from harness.faults.stop import Stop, StopParams
from harness.model.plan import Target
from harness.model.wiring import Wiring
from harness.stacks.pid import PidHost
from harness.stacks.procfs import read_stat
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeHost, FakeWorld

FAULTS = {
    "kill": lambda: Kill(KillParams()),
    "stop": lambda: Stop(StopParams.model_validate({"grace": "5s"})),
    "pause": lambda: Pause(PauseParams()),
    "restart-kill": lambda: Restart(RestartParams.model_validate({"down": "100ms"})),
    "restart-stop": lambda: Restart(RestartParams.model_validate({"mode": "stop", "down": "100ms"})),
}
TARGET = Target(kind="instance", name="a")

real = [pytest.mark.live, pytest.mark.slow]


@pytest.mark.parametrize(
    ("fault", "host"),
    [
        pytest.param(fault, host, marks=[*real, pytest.mark.cell(fault.split("-")[0], host)])
        for fault in sorted(FAULTS)
        for host in ("process", "python", "pid")
    ],
)
async def test_keeps_the_contract_of_an_injector_on_every_host(victim, host, fault) -> None:
    a = victim(host)
    await a.up()
    instant = fault.startswith("restart")
    await check_injector(FAULTS[fault](), a.target, a.world, instant=instant, vanish=a.vanish)
    if fault != "pause":  # which only continues what is stopped, and starts nothing
        assert await a.accepts()


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "stop", "pause"])
async def test_the_reaper_puts_back_what_another_process_broke(victim, fault) -> None:
    a = victim("process")
    before = await a.up()
    injector = FAULTS[fault]()
    state = await injector.prepare(a.target, a.world)
    await injector.apply(state, a.world)
    reborn = a.reborn()
    told = injector.state_type.model_validate_json(state.model_dump_json())
    other = FAULTS[fault]()
    assert (await other.witness(told, reborn)).present
    await other.revert(told, reborn)
    assert not (await other.verify(told, reborn)).present
    assert await a.accepts()
    assert (await a.host.find() == before) is (fault == "pause")
    await reborn.hosts["a"].close()


@pytest.mark.live
@pytest.mark.slow
async def test_kill_says_what_was_seen(victim) -> None:
    a = victim()
    identity = await a.up()
    kill = FAULTS["kill"]()
    state = await kill.prepare(a.target, a.world)
    place = f"127.0.0.1:{a.place[1]}"
    assert state.ports == (place,)
    await kill.apply(state, a.world)
    assert (await kill.witness(state, a.world)).what == f"pid {identity.pid} is gone; {place} refuses connections"
    await kill.revert(state, a.world)
    back = await a.host.find()
    assert (await kill.verify(state, a.world)).what == f"pid {back.pid} runs and accepts connections at {place}"


@pytest.mark.live
@pytest.mark.slow
async def test_stop_says_when_it_had_to_be_killed(victim) -> None:
    a = victim("process", "stubborn")
    await a.up()
    stop = Stop(StopParams.model_validate({"grace": "100ms"}))
    state = await stop.prepare(a.target, a.world)
    await stop.apply(state, a.world)
    assert (await stop.witness(state, a.world)).what.endswith("; it had to be killed after 100 ms")
    await stop.revert(state, a.world)


@pytest.mark.live
@pytest.mark.slow
async def test_a_paused_instance_still_accepts_connections(victim) -> None:
    a = victim()
    identity = await a.up()
    pause = FAULTS["pause"]()
    state = await pause.prepare(a.target, a.world)
    await pause.apply(state, a.world)
    evidence = await pause.witness(state, a.world)
    assert evidence.present
    assert evidence.what.endswith(f"127.0.0.1:{a.place[1]} still accepts connections")
    assert read_stat(identity.pid).state == "T"
    with pytest.raises(InjectError, match="is stopped already, not by this fault"):
        await pause.prepare(a.target, a.world)
    await pause.revert(state, a.world)
    assert read_stat(identity.pid).state in "SR"


@pytest.mark.live
@pytest.mark.slow
async def test_a_kill_of_a_paused_instance_that_is_not_applied_leaves_the_pause(victim) -> None:
    a = victim()
    await a.up()
    pause, kill = FAULTS["pause"](), FAULTS["kill"]()
    paused = await pause.prepare(a.target, a.world)
    await pause.apply(paused, a.world)
    killed = await kill.prepare(a.target, a.world)
    await kill.revert(killed, a.world)
    assert (await pause.witness(paused, a.world)).present
    await kill.apply(killed, a.world)
    assert (await kill.witness(killed, a.world)).present
    await kill.revert(killed, a.world)
    await pause.revert(paused, a.world)
    assert not (await kill.verify(killed, a.world)).present
    assert not (await pause.verify(paused, a.world)).present
    assert await a.accepts()


@pytest.mark.live
@pytest.mark.slow
async def test_a_half_done_kill_is_undone(victim) -> None:
    a = victim()
    identity = await a.up()
    kill = FAULTS["kill"]()
    state = await kill.prepare(a.target, a.world)
    await a.host.freeze(identity)  # what a kill does first
    await kill.revert(state, a.world)
    assert await a.host.find() == identity
    assert not await a.host.frozen(identity)


@pytest.mark.live
@pytest.mark.slow
async def test_what_cannot_be_started_again_is_named_unreverted(victim) -> None:
    a = victim("pid")
    identity = await a.up()
    lasting = PidHost.revive(dict(a.host.recipe(), start=None))
    world = FakeWorld(hosts={"a": lasting}, wiring=a.world.wiring)
    kill = FAULTS["kill"]()
    state = await kill.prepare(a.target, world)
    await kill.apply(state, world)
    with pytest.raises(RevertError, match=r"instance a: cannot be started again: .*nothing says how to start it"):
        await kill.revert(state, world)
    assert (await kill.verify(state, world)).what == "nothing runs as a"
    assert identity.pid == state.pid


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_the_contract_holds_without_ports_on_a_fake_host(fault) -> None:
    host = FakeHost("a")

    async def vanish() -> None:
        host.vanish()

    await check_injector(
        FAULTS[fault](), TARGET, FakeWorld(hosts={"a": host}), instant=fault.startswith("restart"), vanish=vanish
    )


async def test_a_restart_takes_effect_when_the_old_process_goes_not_when_the_new_one_runs() -> None:
    world = FakeWorld(hosts={"a": FakeHost("a")})
    restart = FAULTS["restart-kill"]()
    state = await restart.prepare(TARGET, world)
    begun_ns = world.clock.now_ns()
    await restart.apply(state, world)
    back_ns = world.clock.now_ns()
    evidence = await restart.witness(state, world)
    assert evidence.present and back_ns - begun_ns >= 100_000_000
    assert begun_ns <= evidence.at_ns <= back_ns - 100_000_000
    elsewhere = await FAULTS["restart-kill"]().witness(state, world)
    assert elsewhere.present and elsewhere.at_ns >= back_ns, "one that did not do it knows only what it sees"


async def test_a_supervisor_that_is_quicker_is_no_effect() -> None:
    world = FakeWorld(hosts={"a": FakeHost("a", restarts=True)})
    kill = FAULTS["kill"]()
    state = await kill.prepare(TARGET, world)
    await kill.apply(state, world)
    evidence = await kill.witness(state, world)
    assert not evidence.present
    assert evidence.what == "pid 100 is gone, but pid 101 runs in its place: something started it again"
    await kill.revert(state, world)
    assert not (await kill.verify(state, world)).present
    assert world.hosts["a"].calls == ["kill", "start", "thaw"], "what runs is not started once more"


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_nothing_that_runs_is_nothing_to_break(fault) -> None:
    world = FakeWorld(hosts={"a": FakeHost("a", running=False)})
    with pytest.raises(InjectError, match="instance a: nothing runs, so nothing can be broken"):
        await FAULTS[fault]().prepare(TARGET, world)
    with pytest.raises(InjectError, match="l is a link, expected an instance"):
        await FAULTS[fault]().prepare(Target(kind="link", name="l"), world)


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_who_was_replaced_since_prepare_is_not_broken(fault) -> None:
    host = FakeHost("a")
    world = FakeWorld(hosts={"a": host})
    injector = FAULTS[fault]()
    state = await injector.prepare(TARGET, world)
    host.vanish()
    with pytest.raises(InjectError, match="pid 100 does not run any more, nothing runs"):
        await injector.apply(state, world)
    await host.start()
    with pytest.raises(InjectError, match="pid 100 does not run any more, pid 101 does"):
        await injector.apply(state, world)
    assert await host.find() is not None


async def test_only_ports_that_accepted_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = {"a": {"http": server.getsockname()[1], "idle": closed.getsockname()[1]}}
        world = FakeWorld(hosts={"a": FakeHost("a")}, wiring=Wiring(addresses={"a": "127.0.0.1"}, ports=ports))
        state = await FAULTS["kill"]().prepare(TARGET, world)
    assert state.ports == (f"127.0.0.1:{ports['a']['http']}",)


def test_parameters_are_bounded() -> None:
    with pytest.raises(ValueError, match="`via` is how a container is killed; `mode: power` takes none"):
        KillParams.model_validate({"mode": "power", "via": "pid"})
    with pytest.raises(ValueError, match="expected at most '20s'"):
        StopParams.model_validate({"grace": "21s"})
    with pytest.raises(ValueError, match="fault kill with `for`"):
        RestartParams.model_validate({"down": "1m"})
    with pytest.raises(ValueError, match="Extra inputs"):
        PauseParams.model_validate({"grace": "1s"})


def test_kinds_say_what_they_do() -> None:
    for kind in (KILL, STOP, PAUSE, RESTART):
        assert kind.targets == {"instance"}
        assert kind.hosts == {"process", "python", "pid", "container", "compose"}
        assert "{target}" in kind.what
        assert callable(kind.load())
    assert [kind.needs_start for kind in (KILL, STOP, PAUSE, RESTART)] == [True, True, False, True]
    assert [kind.instant for kind in (KILL, STOP, PAUSE, RESTART)] == [False, False, False, True]
