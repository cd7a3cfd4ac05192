"""What every host and every injector must do, ours or a plugin's. Each suite raises AssertionError, saying what was wrong."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from harness.errors import InjectError
from harness.model.fields import JsonObject
from harness.model.plan import Target
from harness.model.ports import FaultState, Host, HostFactory, Identity, Injector, World

__all__ = ["check_host", "check_injector", "expect"]

Vanish = Callable[[], Awaitable[None]]
GRACE_NS = 5_000_000_000


def expect(holds: bool, what: str) -> None:
    """Raise AssertionError unless it holds. Not `assert`: conformance must count under `python -O` too."""
    if not holds:
        raise AssertionError(what)


async def check_host(make: Callable[[], Host], factory: HostFactory) -> None:
    """Return when a host that can start its instance keeps the contract of `ports.Host`.

    Nothing of the instance may run before; nothing does afterwards. `make` gives a new host of the same instance each
    time; `factory` is its kind's code.
    """
    host = make()
    try:
        expect(await host.find() is None, "find: nothing was started, expected None")
        expect(await host.stop(GRACE_NS) is True, "stop: legal, and clean, when nothing runs")
        identity = await host.start()
        expect(await host.find() == identity, "find: expected who was just started")
        expect(await host.start() == identity, "start: legal when it runs, expected the same one")
        await _freezes_and_thaws(host, identity)
        revived = factory.revive(_through_json(host.recipe()))
        expect(await revived.find() == identity, "revive: the host made from a recipe must find the same one")
        await _freezes_and_thaws(revived, identity)
        await revived.kill(identity)
        expect(await host.find() is None, "kill: it must be gone when the call returns")
        await host.kill(identity)  # legal when it is gone
        await host.thaw(identity)
        expect(not await host.frozen(identity), "frozen: one that is gone is not frozen")
        await _refuses_to_freeze(host, identity)
        again = await revived.start()
        expect(again != identity, "start: expected another identity than that of the one that was killed")
        await host.kill(identity)
        expect(await host.find() == again, "kill: of an earlier identity must leave the present one alone")
        await _refuses_to_freeze(host, identity)
        await host.freeze(again)
        await host.stop(GRACE_NS)
        expect(await host.find() is None, "stop: a frozen one must end too")
        await revived.close()
    finally:
        await host.stop(0)
        await host.close()


async def _freezes_and_thaws(host: Host, identity: Identity) -> None:
    expect(not await host.frozen(identity), "frozen: it runs")
    await host.thaw(identity)  # legal when it was never frozen
    await host.freeze(identity)
    expect(await host.frozen(identity), "freeze: all of it must be stopped when the call returns")
    expect(await host.find() == identity, "find: a frozen one still is there")
    await host.freeze(identity)
    await host.thaw(identity)
    expect(not await host.frozen(identity), "thaw: it must run again when the call returns")


async def _refuses_to_freeze(host: Host, gone: Identity) -> None:
    try:
        await host.freeze(gone)
    except InjectError:
        return
    raise AssertionError("freeze: expected InjectError for an identity that is gone")


async def check_injector(
    injector: Injector, target: Target, world: World, *, instant: bool = False, vanish: Vanish | None = None
) -> None:
    """Return when an injector keeps the contract of `ports.Injector` on a target that is whole, which it is again afterwards.

    In turn: revert without apply; apply, witness, revert, verify; revert twice; the state through JSON between apply and
    revert, as the reaper reads it; and with `vanish`, which ends or removes the target behind the injector's back, a revert
    of what is no longer there. The effect of an `instant` fault is not expected to last.
    """
    await _reverts_without_apply(injector, target, world)
    state = await injector.prepare(target, world)
    expect(isinstance(state, injector.state_type), f"prepare: expected a {injector.state_type.__name__}")
    copy = injector.state_type.model_validate(_through_json(state.model_dump(mode="json")))
    expect(copy == state, "the state must survive JSON unchanged: it is journaled, and read back by another process")
    try:
        await injector.apply(state, world)
        evidence = await injector.witness(state, world)
        expect(evidence.present, f"witness: the effect must be seen after apply, but: {evidence.what}")
        expect(bool(evidence.what), "witness: say what was seen")
        if not instant:
            again = await injector.witness(state, world)
            expect(again.present, f"witness: the effect must last until revert, but: {again.what}")
            broken = await injector.verify(state, world)
            expect(broken.present, f"verify: the fault stands, but verify found it gone: {broken.what}")
    finally:
        await injector.revert(copy, world)
    await _verified(injector, copy, world, "after revert")
    await injector.revert(copy, world)
    await _verified(injector, copy, world, "after a second revert")
    if not instant:
        gone = await injector.witness(state, world)
        expect(not gone.present, f"witness: reverted, but still seen: {gone.what}")
    if vanish is not None:
        await _reverts_what_vanished(injector, target, world, vanish)


async def _reverts_without_apply(injector: Injector, target: Target, world: World) -> None:
    state: FaultState = await injector.prepare(target, world)
    await injector.revert(state, world)
    await _verified(injector, state, world, "after a revert without apply")


async def _reverts_what_vanished(injector: Injector, target: Target, world: World, vanish: Vanish) -> None:
    state: FaultState = await injector.prepare(target, world)
    try:
        await injector.apply(state, world)
        await vanish()
    finally:
        await injector.revert(state, world)
    await _verified(injector, state, world, "after a revert of a target that had vanished")


async def _verified(injector: Injector, state: FaultState, world: World, when: str) -> None:
    evidence = await injector.verify(state, world)
    expect(not evidence.present, f"verify {when}: the target must be as it was, but: {evidence.what}")


def _through_json(document: JsonObject) -> JsonObject:
    copy: JsonObject = json.loads(json.dumps(document))
    return copy
