"""exec and action: other people's programs and functions, to a deadline, undone from the journal alone."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import InjectError, RevertError
from harness.faults.call import answer
from harness.faults.command import run_command
from harness.model.plan import Target
from harness.model.wiring import Wiring
from harness.proxy.launch import start_embedded
from harness.registry import catalog
from harness.run.aftermath import revert_intents
from harness.run.journal import Intent, Journal
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeHost, FakeWorld

STACK = Target(kind="stack", name="stack")
INSTANCE = Target(kind="instance", name="a")


def made(kind: str, **params: Any) -> Any:
    found = catalog().fault(kind)
    return found.load()(found.params.model_validate(params))


def touch(folder: Path, **more: Any) -> dict[str, Any]:
    """A fault whose effect is a file named after its target."""
    name = "flag-$BLACKSTART_TARGET".replace("$", "$$")
    return {
        "apply": ["sh", "-c", f"echo breaking; touch {name}"],
        "revert": ["rm", "-f", "flag-stack", "flag-a"],
        "witness": ["sh", "-c", f"test -e {name}"],
        "within": "2s",
        "cwd": str(folder),
        **more,
    }


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.cell("exec", "stack")
async def test_exec_on_the_stack(tmp_path: Path) -> None:
    await check_injector(made("exec", **touch(tmp_path)), STACK, FakeWorld())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize(
    "host", [pytest.param(kind, marks=pytest.mark.cell("exec", kind)) for kind in ("process", "python", "pid")]
)
async def test_exec_on_an_instance_is_told_who_it_is(victim: Any, host: str, tmp_path: Path) -> None:
    a = victim(host)
    identity = await a.up()
    told = made(
        "exec",
        apply=["sh", "-c", "kill -STOP $$BLACKSTART_PID"],
        revert=["sh", "-c", "kill -CONT $$BLACKSTART_PID || true"],
        witness=["sh", "-c", "grep -q '^State:.*T' /proc/$$BLACKSTART_PID/status"],
        within="2s",
    )
    await check_injector(told, a.target, a.world)
    assert await a.host.find() == identity


async def test_placeholders_are_resolved_as_for_everything_else(tmp_path: Path) -> None:
    wiring = Wiring(addresses={"a": "127.0.0.9"}, ports={"a": {"http": 81}})
    told = made("exec", **touch(tmp_path, apply=["sh", "-c", 'echo "$$1" > told', "sh", "${addr:a.http}"]))
    world = FakeWorld(wiring=wiring)
    await told.apply(await told.prepare(STACK, world), world)
    assert (tmp_path / "told").read_text() == "127.0.0.9:81\n"


async def test_an_instance_that_does_not_run_cannot_be_broken() -> None:
    world = FakeWorld(hosts={"a": FakeHost("a", running=False)})
    with pytest.raises(InjectError, match="nothing runs, so nothing can be broken"):
        await made("exec", apply=["true"], revert=["true"], witness=["true"]).prepare(INSTANCE, world)


@pytest.mark.parametrize(
    ("change", "call", "error", "message"),
    [
        ({"apply": ["sh", "-c", "echo no; exit 3"]}, "apply", InjectError, "'sh' ended with 3: no"),
        ({"apply": ["./not-there"]}, "apply", InjectError, "cannot run './not-there': No such file or directory"),
        ({"apply": ["sleep", "20"], "within": "100ms"}, "apply", InjectError, "'sleep': not done within 0.1 s"),
        ({"witness": ["sh", "-c", "exit 2"]}, "witness", InjectError, r"cannot tell: it ended with 2 \(0: there"),
        ({"witness": ["sh", "-c", "exit 2"]}, "verify", RevertError, "cannot tell whether it is gone"),
        ({"revert": ["false"]}, "revert", RevertError, "revert: 'false' ended with 1"),
    ],
)
async def test_what_goes_wrong_is_said(
    tmp_path: Path, change: dict[str, Any], call: str, error: type[Exception], message: str
) -> None:
    told = made("exec", **touch(tmp_path, **change))
    world = FakeWorld()
    state = await told.prepare(STACK, world)
    with pytest.raises(error, match=message) as caught:
        await getattr(told, call)(state, world)
    if isinstance(caught.value, RevertError):
        (command,) = caught.value.commands
        assert command.startswith(f"cd {tmp_path} && BLACKSTART_RUN=test-run")


async def test_a_command_that_ran_out_of_time_leaves_nothing(tmp_path: Path) -> None:
    script = "sleep 30 & echo $! > child; sleep 30"
    with pytest.raises(InjectError, match="not done within"):
        await run_command(["sh", "-c", script], within_ns=500_000_000, cwd=str(tmp_path), env={})
    child = int((tmp_path / "child").read_text())
    async with asyncio.timeout(5):
        while _runs(child):
            await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("within", ["0s", "61s"])
def test_the_time_given_is_bounded(within: str) -> None:
    with pytest.raises(ValueError, match="at most '60s'"):
        made("exec", apply=["true"], revert=["true"], witness=["true"], within=within)


# ---- action ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SimpleNamespace]:
    """The embedded fault proxy, as the server that a Chaos Toolkit extension drives."""
    proxy = await start_embedded(7, tmp_path / "proxy.log")
    try:
        await proxy.links.create("db", "127.0.0.1:0", "127.0.0.1:9", {})
        yield SimpleNamespace(links=proxy.links, url=proxy.links.url)
    finally:
        proxy.process.terminate()
        await proxy.process.wait()


def disable(url: str) -> dict[str, Any]:
    """chaostoolkit-toxiproxy's own functions, as an experiment would name them."""
    return {
        "module": "chaostoxi.proxy.actions",
        "func": "disable_proxy",
        "arguments": {"proxy_name": "$${which}"},
        "configuration": {"toxiproxy_url": url, "which": "db"},
        "revert": {"module": "chaostoxi.proxy.actions", "func": "enable_proxy", "arguments": {"proxy_name": "db"}},
        "witness": {
            "module": "chaostoxi.proxy.probes",
            "func": "get_proxy_attribute",
            "arguments": {"proxy_name": "db", "attribute": "enabled"},
            "expect": False,
        },
    }


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.cell("action", "stack")
async def test_an_extension_from_the_registry_breaks_and_mends(server: SimpleNamespace, tmp_path: Path) -> None:
    told = made("action", **disable(server.url), cwd=str(tmp_path))
    world = FakeWorld()
    state = await told.prepare(STACK, world)
    await told.apply(state, world)
    assert (await server.links.get("db")).enabled is False
    evidence = await told.witness(state, world)
    assert (evidence.present, evidence.what) == (True, "chaostoxi.proxy.probes.get_proxy_attribute returned False")
    params = catalog().fault("action").params.model_validate(disable(server.url)).model_dump(mode="json")
    intent = Intent(
        id="x@stack",
        fault="x",
        kind="action",
        params=params,
        target=STACK,
        state=state.model_dump(mode="json"),
        deadline_ns=0,
    )
    journal = Journal(tmp_path / "undo.jsonl")
    journal.append(intent)
    assert await revert_intents((intent,), world, catalog(), journal, "reaper") == [("x@stack", "", ())]  # type: ignore[arg-type]
    journal.close()
    assert (await server.links.get("db")).enabled is True
    await told.revert(state, world)


MODULE = """
state = {}

def act(name, secrets=None, configuration=None):
    print("noise on stdout")
    return {"name": name, "secrets": secrets, "configuration": configuration}

def plain(a, b=2):
    return [a, b]

def fail(password):
    raise RuntimeError(f"refused {password}")

def odd():
    return object()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "ext_under_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "ext_under_test"


def call(module: str, func: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    told = {"module": module, "func": func, "arguments": arguments, "configuration": {}, "secrets": {}} | more
    return answer(told, {"TOKEN": "s3cret", "PLACE": "eu"})


def test_configuration_and_secrets_are_given_as_chaos_toolkit_does(module: str) -> None:
    from chaoslib.provider.python import run_python_activity

    configuration = {"region": {"type": "env", "key": "PLACE"}, "size": 3}
    secrets = {"cloud": {"token": {"type": "env", "key": "TOKEN"}}}
    ours = call(module, "act", {"name": "${region}-${size}"}, configuration=configuration, secrets=secrets)
    provider = {"module": module, "func": "act", "arguments": {"name": "${region}-${size}"}, "secrets": ["cloud"]}
    theirs = run_python_activity(
        {"name": "x", "provider": provider}, {"region": "eu", "size": 3}, {"cloud": {"token": "s3cret"}}
    )
    assert theirs["secrets"] == {"token": "s3cret"}
    assert ours == {"value": theirs | {"secrets": {"token": "***"}}}


@pytest.mark.parametrize(
    "text", ["${size}", "n${size}", "${unknown}", "a ${region} ${unknown}", ["${size}"], {"k": "${size}"}]
)
def test_substitution_is_chaos_toolkit_s(module: str, text: Any) -> None:
    from chaoslib import substitute

    configuration = {"size": 3, "region": "eu"}
    ours = call(module, "plain", {"a": text}, configuration=configuration)["value"][0]
    assert ours == substitute({"a": text}, configuration, {})["a"]


def test_what_goes_wrong_in_a_call_is_said_without_secrets(module: str) -> None:
    secrets = {"s": {"password": {"type": "env", "key": "TOKEN"}}}
    assert call(module, "fail", {"password": "${password}"}, secrets=secrets) == {"error": "RuntimeError: refused ***"}
    missing = {"s": {"password": {"type": "env", "key": "GONE"}}}
    assert "environment variable GONE is not set" in call(module, "fail", {}, secrets=missing)["error"]
    assert "missing a required argument: 'a'" in call(module, "plain", {})["error"]
    assert "has no attribute 'nothing'" in call(module, "nothing", {})["error"]
    assert "No module named" in call("no_such_module_here", "x", {})["error"]
    assert "not JSON serializable" in call(module, "odd", {})["error"]
    assert call(module, "fail", {"password": "x"}, check=True) == {"value": None}


async def test_a_function_that_cannot_be_called_is_found_before_anything_is_touched(tmp_path: Path) -> None:
    (tmp_path / "ext_here.py").write_text("def act():\n    open('acted', 'w')\n")
    good = {"module": "ext_here", "func": "act"}
    told = made("action", **good, revert=good | {"func": "undo"}, witness=good, cwd=str(tmp_path))
    with pytest.raises(InjectError, match=r"ext_here.undo: AttributeError: module 'ext_here' has no attribute 'undo'"):
        await told.prepare(STACK, FakeWorld())
    assert not (tmp_path / "acted").exists()


async def test_a_function_that_kills_its_process_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ext_dies.py").write_text("import os\ndef act():\n    os._exit(7)\n")
    one = {"module": "ext_dies", "func": "act"}
    told = made("action", **one, revert=one, witness=one, cwd=str(tmp_path))
    world = FakeWorld()
    state = await told.prepare(STACK, world)
    with pytest.raises(InjectError, match=r"ext_dies.act: died with 7"):
        await told.apply(state, world)
    with pytest.raises(RevertError) as caught:
        await told.revert(state, world)
    assert f"{sys.executable} -P -m harness.faults.call" in caught.value.commands[0]


def test_secrets_are_never_written_into_a_document() -> None:
    one = {"module": "m", "func": "f"}
    with pytest.raises(ValueError, match="secrets"):
        made("action", **one, revert=one, witness=one, secrets={"s": {"token": "plain text"}})
    told = made("action", **one, revert=one, witness=one, secrets={"s": {"t": {"type": "env", "key": "TOKEN"}}})
    assert json.loads(told.params.model_dump_json())["secrets"] == {
        "s": {"t": {"type": "env", "key": "TOKEN", "default": None}}
    }
