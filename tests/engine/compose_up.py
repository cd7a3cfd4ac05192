"""Brings a compose.yaml up with the docker program alone, named and labelled as by Compose: `compose_up.py FILE up|down`.

For machines without Compose v2 and without a registry. Knows the keys that the shipped file uses and refuses all others, so
that nothing in it is passed over in silence; images are built on this machine's own base image.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).parent))
import base_image

KNOWN = {
    "": {"name", "services", "networks"},
    "service": {"image", "build", "networks", "init", "command", "ports", "user", "entrypoint", "environment"},
    "network": {"ipam"},
}


def docker(*argv: str) -> str:
    """The output. Raises RuntimeError with the engine's complaint."""
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(argv[:2])}: {done.stderr.strip()[-1000:]}")
    return done.stdout.strip()


def read(file: Path) -> dict[str, Any]:
    """The document, merge keys merged. Raises ValueError for a key that this script does not know."""
    document = YAML(typ="safe").load(file.read_text())
    parts = [("", document), *(("service", one) for one in document["services"].values())]
    parts += [("network", one) for one in document["networks"].values()]
    for what, part in parts:
        unknown = {key for key in part if not key.startswith("x-")} - KNOWN[what]
        if unknown:
            raise ValueError(f"{file}: unknown keys {sorted(unknown)} in {what or 'the document'}")
    return dict(document)


def labels(project: str, service: str) -> list[str]:
    facts = {"project": project, "service": service, "oneoff": "False", "container-number": "1"}
    return [part for key, value in facts.items() for part in ("--label", f"com.docker.compose.{key}={value}")]


def up(file: Path, project: str | None = None, base: str | None = None) -> str:
    """The project's name, its networks made, images built (on the image `base`) and containers started."""
    document = read(file)
    project = project or document["name"]
    built: set[str] = set()
    for name, network in document["networks"].items():
        subnets = [part for pool in network["ipam"]["config"] for part in ("--subnet", pool["subnet"])]
        mark = f"com.docker.compose.project={project}"
        docker("network", "create", "--label", mark, *subnets, f"{project}_{name}")
    for name, service in document["services"].items():
        if service["image"] not in built:
            built.add(service["image"])
            context = (file.parent / service["build"]["context"]).resolve()
            recipe = context / service["build"]["dockerfile"]
            built_on = f"BASE={base or base_image.build()}"
            docker("build", "--tag", service["image"], "--file", str(recipe), "--build-arg", built_on, str(context))
        ((network, place),) = service["networks"].items()
        options = [part for port in service.get("ports", ()) for part in ("--publish", port)]
        options += ["--init"] if service.get("init") else []
        options += ["--user", service["user"]] if "user" in service else []
        options += [part for pair in service.get("environment", {}).items() for part in ("--env", "=".join(pair))]
        program, *before = service.get("entrypoint", [""])
        options += ["--entrypoint", program] if program else []
        options += [
            "--network",
            f"{project}_{network}",
            "--ip",
            place["ipv4_address"],
            "--network-alias",
            name,
            "--name",
            f"{project}-{name}-1",
        ]
        docker("run", "--detach", *labels(project, name), *options, service["image"], *before, *service["command"])
    return str(project)


def down(project: str) -> None:
    """Remove the project's containers and networks. Legal when there are none."""
    mine = f"label=com.docker.compose.project={project}"
    containers = docker("ps", "--all", "--quiet", "--filter", mine).split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)
    networks = docker("network", "ls", "--quiet", "--filter", mine).split()
    if networks:
        docker("network", "rm", *networks)


if __name__ == "__main__":
    path, what = Path(sys.argv[1]), sys.argv[2]
    named = sys.argv[3] if len(sys.argv) > 3 else read(path)["name"]
    print(up(path, named)) if what == "up" else down(named)
