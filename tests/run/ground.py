"""What runs are killed on: attached servers, fault proxies and a container that stay up, beside bystanders not to be touched."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.proxy.client import PlainLinks
from harness.proxy.launch import proxy_command, wait_for_proxy
from tests.engine import base_image
from tests.ports import free_port

SERVER = Path(__file__).with_name("answering.py")
QUICK = f"{sys.executable}, -S, -E, {SERVER}"
"""The server's command line up to its port, as YAML list items; it starts in some hundredths of a second."""


@dataclass(frozen=True)
class Cell:
    """One kind of fault on one kind of host: YAML of its instance and entry, and what of it is still broken, in words."""

    name: str
    instances: str
    entry: str
    broken: Callable[[], Iterator[str]]


@dataclass
class Ground:
    """Everything that is kept up from round to round. Close it to end all of it."""

    folder: Path
    pids: dict[str, Path] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    servers: dict[str, tuple[subprocess.Popen[bytes], str]] = field(default_factory=dict)
    containers: list[str] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    before: dict[str, object] = field(default_factory=dict)

    def open(self) -> None:
        """Start it all, and note what the bystanders are."""
        for name in ("frozen", "killed", "bystander"):
            self.ports[name] = free_port()
            self.pids[name] = self.folder / f"{name}.pid"
            subprocess.run(
                [sys.executable, "-S", "-E", SERVER, str(self.ports[name]), self.pids[name]], check=True, timeout=30
            )
        asyncio.run(self._proxies())
        self._cells()
        self.before = self._bystanders()

    async def _proxies(self) -> None:
        kinds = ["embedded", *(["toxiproxy"] if shutil.which("toxiproxy-server") else [])]
        if len(kinds) == 1:
            self.without.append("links on toxiproxy-server: there is none on PATH")
        for kind in kinds:
            argv, links = proxy_command(kind, seed=1)
            with (self.folder / f"{kind}.log").open("ab") as log:
                process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.servers[kind] = process, links.url
            await wait_for_proxy(links, self.folder / f"{kind}.log")
            await links.create("bystander", f"127.0.0.1:{free_port()}", f"127.0.0.1:{self.ports['bystander']}", {})

    def _cells(self) -> None:
        attached = (
            "{{region: eu, host: {{pid: {{file: {pid}}}, start: [{quick}, '{port}', {pid}]}}, ports: {{http: {port}}}}}"
        )
        for name, kind in (("frozen", "pause"), ("killed", "kill")):
            told = {"pid": self.pids[name], "port": self.ports[name], "quick": QUICK}
            self.cells.append(
                Cell(
                    f"{kind} of an attached process",
                    f"  {name}: {attached.format(**told)}",
                    f"{{id: {name}, fault: {kind}, on: {{instance: [{name}]}}}}",
                    lambda name=name: self._server_broken(name),  # type: ignore[misc]
                )
            )
        own = f'{{region: eu, host: {{process: [{QUICK}, "${{port:http}}"]}}, ports: [http]}}'
        self.cells.append(
            Cell(
                "pause of a started process",
                f"  own: {own}",
                "{id: own, fault: pause, on: {instance: [own]}}",
                lambda: iter(()),  # it ends with the run: see `killing.left_of`
            )
        )
        for link, fault in (("slow", "latency, delay: 50ms"), ("shut", "refuse"), ("cut", "partition")):
            entry = f"{{id: {link}, fault: {fault}, on: {{link: {link}}}}}"
            self.cells.append(Cell(f"{fault.partition(',')[0]} of a link", "", entry, lambda: iter(())))
        if os.geteuid() != 0 or shutil.which("nft") is None:
            self.without.append("rules in the kernel: need root and nft")
        else:
            self.cells.append(self._kernel_cell())
        if shutil.which("docker") is None or subprocess.run(["docker", "version"], capture_output=True).returncode:
            self.without.append("containers: no engine answers")
        else:
            self.cells.append(self._container_cell())
            if os.geteuid() == 0 and shutil.which("nft") is not None:
                self.cells.append(self._inside_cell())

    def _kernel_cell(self) -> Cell:
        sides = "\n".join(
            f"  {name}: {{region: {region}, address: {address}, ports: [http],"
            f' host: {{process: [{QUICK}, "${{port:http}}"], env: {{ANSWER_AT: {address}}}}}}}'
            for name, region, address in (("left", "eu", "127.0.77.1"), ("right", "us", "127.0.77.2"))
        )
        entry = "{id: rules, fault: partition, via: nftables, between: [{instance: [left]}, {instance: [right]}]}"
        return Cell("partition by nftables", sides, entry, tables)

    def _container_cell(self) -> Cell:
        image = base_image.build()
        for name in ("paused", "bystander"):
            container = f"blackstart-killing-{os.getpid()}-{name}"
            command = ["docker", "run", "--detach", "--rm", "--name", container, image, "sleep", "1200"]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            self.containers.append(container)
        paused = self.containers[0]

        def broken() -> Iterator[str]:
            if container_state(paused)[0] != "running":
                yield f"container {paused} is {container_state(paused)[0]}"

        return Cell(
            "pause of a container",
            f"  box: {{region: eu, host: {{container: {paused}}}}}",
            "{id: box, fault: pause, on: {instance: [box]}}",
            broken,
        )

    def _inside_cell(self) -> Cell:
        """Rules inside a container's own network namespace."""
        container = f"blackstart-killing-{os.getpid()}-lossy"
        serve = ["python3", "-S", "-m", "http.server", "8080"]
        command = ["docker", "run", "--detach", "--rm", "--init", "--name", container, base_image.build(), *serve]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        self.containers.append(container)
        asked = ["docker", "inspect", "--format", "{{.State.Pid}} {{.NetworkSettings.IPAddress}}", container]
        pid, address = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=20).stdout.split()
        if wait_until(lambda: connects(8080, address), 20) is None:
            raise RuntimeError(f"{container} does not listen")
        return Cell(
            "loss of a container's packets",
            f"  lossy: {{region: eu, host: {{container: {container}}}, ports: {{http: 8080}}}}",
            "{id: lossy, fault: loss, ratio: 50%, on: {instance: [lossy]}}",
            lambda: tables(["nsenter", "-t", pid, "-n"]),
        )

    def documents(self, proxy: str) -> Path:
        """Write a stack whose links are on that fault proxy, and the experiment; the experiment's path."""
        links = "\n".join(
            f'  {link}: {{from: clients, to: "frozen:http", listen: "127.0.0.1:{free_port()}"}}'
            for link in ("slow", "shut", "cut")
        )
        instances = "\n".join(cell.instances for cell in self.cells if cell.instances)
        (self.folder / f"stack-{proxy}.yaml").write_text(
            f"version: 1\nkind: stack\nname: ground-{proxy}\nregions: {{eu: {{}}, us: {{}}}}\ninstances:\n{instances}\n"
            f'links:\n{links}\ndrillable: ["region:*", "link:*"]\nentry: "http://${{addr:frozen.http}}"\n'
            f"fault_proxy: {{toxiproxy: '{self.servers[proxy][1]}'}}\n"
        )
        timeline = "\n".join(
            f"  - {cell.entry[:-1]}, at: {20 * number}ms, for: 1500ms}}" for number, cell in enumerate(self.cells)
        )
        path = self.folder / f"killed-{proxy}.yaml"
        path.write_text(
            f"version: 1\nkind: experiment\nname: killed\ntitle: t\nhypothesis: h\nstack: stack-{proxy}.yaml\n"
            "load: {profile: http, arrival: {rate: 1000/s}, timeout: 1s, warmup: 10ms}\n"
            'steady_state: {for: 50ms, require: ["good >= 1%"]}\nblast_radius: {regions: 2, share: 100%}\n'
            f'recovered_when: "good >= 1% for 100ms"\nobserve: 100ms\nsettle: 100ms\ntimeline:\n{timeline}\n'
        )
        return path

    def residue(self) -> list[str]:
        """Everything that is still broken now, in words."""
        found = [what for cell in self.cells for what in cell.broken()]
        for kind, (_, url) in self.servers.items():
            found += asyncio.run(links_broken(kind, url))
        return found

    def made_links(self) -> list[str]:
        """Links of a run that are still on a fault proxy, in words."""
        left = []
        for kind, (_, url) in self.servers.items():
            names = asyncio.run(PlainLinks(url, embedded=False)._plain("GET", "/proxies"))
            left += [f"{kind} still has link {name}" for name in names if name != "bystander"]
        return left

    def touched(self) -> list[str]:
        """What happened to bystanders, in words; they must be the same and answer."""
        now = self._bystanders()
        return [
            f"bystander {name}: was {was}, is {now.get(name)}" for name, was in self.before.items() if now[name] != was
        ]

    def _bystanders(self) -> dict[str, object]:
        seen: dict[str, object] = {"process": (self.pids["bystander"].read_text(), answers(self.ports["bystander"]))}
        for kind, (_, url) in self.servers.items():
            state = asyncio.run(PlainLinks(url, embedded=False).get("bystander"))
            port = int(state.listen.rpartition(":")[2])
            seen[f"link on {kind}"] = (state, answers(port))
        for container in self.containers[1:]:
            seen["container"] = container_state(container)
        return seen

    def _server_broken(self, name: str) -> Iterator[str]:
        state = state_of(self.pids[name])
        if state is None:
            yield f"process {name} does not run"
        elif state == "T":
            yield f"process {name} is stopped"
        elif not connects(self.ports[name]):
            yield f"process {name} accepts no connection"

    def close(self) -> None:
        """End it all, by identity."""
        for container in self.containers:
            subprocess.run(["docker", "rm", "--force", container], capture_output=True, timeout=60)
        for process, _ in self.servers.values():
            process.kill()
            process.wait()
        for file in self.pids.values():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)


async def links_broken(kind: str, url: str) -> list[str]:
    proxies = await PlainLinks(url, embedded=False)._plain("GET", "/proxies")
    found = [
        f"{kind}: link {name} has toxic {toxic['name']}" for name, one in proxies.items() for toxic in one["toxics"]
    ]
    return found + [f"{kind}: link {name} is closed" for name, one in proxies.items() if not one["enabled"]]


def tables(inside: Sequence[str] = ()) -> Iterator[str]:
    """Tables of such runs, here or where that command line leads."""
    listed = subprocess.run([*inside, "nft", "list", "tables"], capture_output=True, text=True, timeout=20).stdout
    yield from (line for line in listed.splitlines() if "blackstart" in line and "killed" in line)


def container_state(name: str) -> tuple[str, str]:
    form = "{{.State.Status}} {{.Id}} {{.State.StartedAt}}"
    told = subprocess.run(["docker", "inspect", "--format", form, name], capture_output=True, text=True, timeout=20)
    state, _, identity = told.stdout.strip().partition(" ")
    return state or "gone", identity


def state_of(pid_file: Path) -> str | None:
    """The state letter of the process that a pid file names; None when there is none."""
    try:
        stat = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text()
    except OSError:
        return None
    letter = stat.rpartition(")")[2].split()[0]
    return None if letter in "ZX" else letter


def connects(port: int, address: str = "127.0.0.1") -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def answers(port: int) -> bool:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        asked.request("GET", "/")
        return asked.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


def wait_until(done: Callable[[], bool], limit_s: float) -> float | None:
    """Seconds until it was done, looked at every 10 ms; None when it was not within the limit."""
    begun = time.monotonic()
    while not done():
        if time.monotonic() - begun > limit_s:
            return None
        time.sleep(0.01)
    return time.monotonic() - begun
