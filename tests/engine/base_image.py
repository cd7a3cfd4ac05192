"""A base image out of this machine's own Python: no registry of images is needed. `python -m tests.engine.base_image [TAG]`.

Holds the interpreter, its standard library, the reference stack's dependency aiohttp, a shell, a few small tools, and
every shared library that these load. Two seconds, about 100 MB, made once: a tag that exists is left as it is.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

TAG = "blackstart-base:py" + f"{sys.version_info.major}.{sys.version_info.minor}"
TAG_WITH_SERVERS = f"{TAG}-servers"
TOOLS = ("sh", "cat", "dd", "df", "env", "ls", "mkdir", "rm", "sleep", "stat", "touch")
SITE = ("aiohttp",)
SERVERS = ("haproxy", "redis-server")
POSTGRES = (Path("/usr/lib/postgresql/15"), Path("/usr/share/postgresql/15"))
SITE_WITH_SERVERS = (*SITE, "psycopg", "psycopg-binary", "redis")
PEOPLE = "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70:postgres:/tmp:/bin/sh\n"
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages"}


def libraries(file: Path) -> Iterator[Path]:
    """The shared libraries that a program or an extension module loads, and its loader."""
    told = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False).stdout
    for match in re.finditer(r"(?:=> )?(/\S+) \(0x", told):
        yield Path(match[1])


def site_packages(names: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Files of the named distributions and of all that they require, with their places under site-packages."""
    left, seen = list(names), set()
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        one = distribution(name)
        needs = [Requirement(need) for need in one.requires or ()]
        left += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
        for file in one.files or ():
            if ".." not in file.parts:
                yield Path(str(file.locate())), str(file)


def servers() -> Iterator[tuple[Path, str]]:
    """This machine's own HAProxy, Redis and PostgreSQL, without what compiles queries."""
    for name in SERVERS:
        found = shutil.which(name, path="/usr/sbin:/usr/bin")
        if found is None:
            raise FileNotFoundError(f"{name} is not installed here")
        yield Path(found).resolve(), f"usr/bin/{name}"
    for root in POSTGRES:
        for here in root.rglob("*"):
            if here.is_file() and "llvmjit" not in here.name and "bitcode" not in here.parts:
                yield here, str(here).lstrip("/")


def contents(site: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """(file here, its place in the image) of everything in it but servers."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = Path(sys.base_prefix, "bin", version).resolve()
    yield interpreter, f"usr/local/bin/{version}"
    stdlib = Path(sysconfig.get_path("stdlib"))
    for folder, folders, files in os.walk(stdlib):
        folders[:] = [one for one in folders if one not in LEFT_OUT]
        for file in files:
            if not file.endswith((".opt-1.pyc", ".opt-2.pyc", ".a")):
                here = Path(folder, file)
                yield here, f"usr/local/lib/{version}/{here.relative_to(stdlib)}"
    for here, place in site_packages(site):
        yield here, f"usr/local/lib/{version}/site-packages/{place}"
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/bin:/bin")
        if found is not None:
            yield Path(found).resolve(), f"bin/{tool}"


def archive(with_servers: bool = False) -> bytes:
    """The image's file system as a tar."""
    made = io.BytesIO()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    with tarfile.open(fileobj=made, mode="w") as tar:
        for folder, mode in (("tmp", 0o1777), ("etc", 0o755), ("root", 0o700), ("usr/bin", 0o755), ("srv", 0o755)):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, mode
            tar.addfile(member)
        for link, to in ((f"usr/local/bin/{name}", version) for name in ("python", "python3")):
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, to
            tar.addfile(member)
        for place, text in (("etc/passwd", PEOPLE), ("etc/group", "root:x:0:\npostgres:x:70:\n")):
            member = tarfile.TarInfo(place)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        placed: set[str] = set()
        needed: dict[str, Path] = {}
        everything = contents(SITE_WITH_SERVERS if with_servers else SITE)
        for here, place in chain(everything, servers() if with_servers else ()):
            if place not in placed:
                placed.add(place)
                tar.add(here.resolve(), place, recursive=False)
                if os.access(here, os.X_OK) or ".so" in here.name:
                    shared = (one for one in libraries(here) if not one.is_relative_to(sys.prefix))
                    needed |= {str(one).lstrip("/"): one for one in shared}
        for place, here in needed.items():
            tar.add(here.resolve(), place, recursive=False)
    return made.getvalue()


def build(tag: str = TAG, with_servers: bool = False) -> str:
    """The tag, its image made unless there is one. Raises CalledProcessError when the engine refuses.

    `with_servers`: the reference stack's real components too; raises FileNotFoundError for one that is not installed here.
    """
    if subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode != 0:
        change = ["--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", "--change", "ENV LD_LIBRARY_PATH=/usr/local/lib"]
        subprocess.run(
            ["docker", "import", *change, "-", tag], input=archive(with_servers), capture_output=True, check=True
        )
    return tag


if __name__ == "__main__":
    print(build(*sys.argv[1:]))
