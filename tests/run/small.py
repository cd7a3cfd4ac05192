"""Whole runs of a stack of one small shop behind links, through the command line, in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["BLACKSTART", "PROFILE", "SHOP", "Small", "processes_of"]

BLACKSTART = Path(sys.executable).with_name("blackstart")
SHOP = Path(__file__).with_name("shop.py")
STACK = f"""\
version: 1
kind: stack
name: shop
environment: test
regions:
  here: {{serves: primary, entry: "http://${{link:a}}"}}
instances:
  shop:
    region: here
    host: {{process: [{sys.executable}, -I, {SHOP}, "${{port:http}}"]}}
    ports: [http]
links:
  a: {{from: clients, to: "shop:http"}}
  b: {{from: clients, to: "shop:http"}}
drillable: ["link:*"]
entry: "http://${{link:a}}"
"""
EXPERIMENT = """\
version: 1
kind: experiment
name: small
title: A shop loses its link
hypothesis: it is back at once
stack: stack.yaml
load:
  profile: profile.py:Buyer
  arrival: {rate: 100/s}
  timeout: 500ms
  warmup: 500ms
steady_state: {for: 3s, require: ["good >= 95%"]}
recovered_when: "good >= 99% for 1s"
timeline:
  - {id: cut, at: 0s, fault: refuse, on: {link: a}, for: 500ms, ends: itself}
observe: 1200ms
settle: 10s
final: {within: 2s}
objectives: [recovery_time <= 5s, data_loss = 0]
"""
PROFILE = """\
from harness.load import HttpUser


class Buyer(HttpUser):
    model = "set"

    async def run(self) -> None:
        async with self.op("add", value=self.unique()) as op:
            async with self.client.post("/add", params={"item": op.value}) as reply:
                reply.raise_for_status()

    async def final(self) -> None:
        async with self.op("read") as op:
            async with self.client.get("/items") as reply:
                reply.raise_for_status()
                op.result = await reply.json()
"""


@dataclass
class Small:
    """A folder with a stack, an experiment and a load profile; each may be changed before it is run.

    `inside`: a command that runs another, which `blackstart run` is handed to.
    """

    folder: Path
    stack: str = STACK
    experiment: str = EXPERIMENT
    profile: str = PROFILE
    inside: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Own state, and the folder's modules and entry points visible to every process of the run."""
        own = {"BLACKSTART_STATE": str(self.folder / "state"), "NO_COLOR": "1", "PYTHONPATH": str(self.folder)}
        return os.environ | own

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Write the files and begin `blackstart run` on them."""
        self.folder.mkdir(exist_ok=True)
        for name, text in (
            ("stack.yaml", self.stack),
            ("experiment.yaml", self.experiment),
            ("profile.py", self.profile),
        ):
            (self.folder / name).write_text(text)
        return subprocess.Popen(
            [*self.inside, BLACKSTART, "run", "experiment.yaml", "--json", *flags],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *flags: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a run to its end."""
        with self.start(*flags) as process:
            try:
                out, talk = process.communicate(timeout=90)
            finally:
                process.kill()
        return process.returncode, out, talk

    @property
    def runs(self) -> list[Path]:
        """Its run directories."""
        return sorted((self.folder / "reports").glob("2*Z-*"))

    def result(self) -> dict[str, Any]:
        """The one run's result."""
        (run,) = self.runs
        return json.loads((run / "result.json").read_text())  # type: ignore[no-any-return]


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that still know this folder, by their environment or their words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            known = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if words and entry.name != str(os.getpid()) and (f"{folder}/" in known + words):
            found.append(f"{entry.name} {words}")
    return found
