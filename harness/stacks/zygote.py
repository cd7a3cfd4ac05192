"""Forks Python instances from one process that has their imports done. Run by path, knows nothing of the harness package.

`python -P zygote.py FD PADDING ROOT PRELOAD...`: FD is a socket of JSON lines. First it says `{"ready": true}`, or an `error`;
then each request (instance, entry, args, env, cwd, ids, log, marker, netns) is answered by `{"pid": ..., "start_ticks": ...}`
or an `error`. The instance is forked twice, so it falls to the process host, a child subreaper, which reaps it. It ends
with end of file on FD. PADDING is room for the command lines that the instances show; ROOT is searched for modules last.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import inspect
import json
import os
import random
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["main"]

_MARKER = "BLACKSTART_TREE"
_CLONE_NEWNET = 0x40000000


def main() -> int:
    """Serve until end of file, or, in a forked instance, run it; the exit code."""
    control = socket.socket(fileno=int(sys.argv[1]))
    cwd = os.getcwd()
    if cwd not in sys.path:
        sys.path.insert(0, cwd)  # as `python -m` would
    if sys.argv[3] not in sys.path:
        sys.path.append(sys.argv[3])
    try:
        for module in sys.argv[4:]:
            importlib.import_module(module)
    except BaseException as exc:
        traceback.print_exc()
        _tell(control, {"error": f"preload {module!r}: {type(exc).__name__}: {exc}"})
        return 1
    gc.collect()
    gc.freeze()  # or the first collection in each instance would copy every page of what was imported
    _tell(control, {"ready": True})
    instance = _serve(control)
    return 0 if instance is None else _exit_code(instance())


def _exit_code(result: object) -> int:
    if result is None or isinstance(result, int):
        return int(result or 0)
    sys.stderr.write(f"{result}\n")  # what sys.exit does with a message
    return 1


def _tell(control: socket.socket, document: dict[str, Any]) -> None:
    control.sendall(json.dumps(document).encode() + b"\n")


def _serve(control: socket.socket) -> Callable[[], object] | None:
    """Fork on request until end of file. Returns a function only in an instance: what it is to run."""
    with control.makefile("rb") as requests:
        while line := requests.readline():
            request = json.loads(line)
            sys.stdout.flush()
            sys.stderr.flush()
            answer_r, answer_w = os.pipe()
            middle = os.fork()
            if middle == 0:
                if os.fork() != 0:
                    os._exit(0)
                requests.close()
                control.close()
                os.close(answer_r)
                return _become(request, answer_w)
            os.close(answer_w)
            os.waitpid(middle, 0)
            with open(answer_r, "rb") as answer:
                told = answer.read()
            _tell(control, json.loads(told) if told else {"error": "it died before it began"})
    return None


def _become(request: dict[str, Any], answer: int) -> Callable[[], object]:
    """Turn this fork into the instance: session, log, user, folder, environment. Returns its main, ready to be called."""
    try:
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        null = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        _show(request)
        if request["netns"] is not None:
            _enter(request["netns"])
        if request["ids"] is not None:
            uid, gid = request["ids"]
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        os.environ[_MARKER] = request["marker"]
        with open("/proc/self/stat", "rb") as stat:
            ticks = int(stat.read().rpartition(b")")[2].split()[19])
        os.write(answer, json.dumps({"pid": os.getpid(), "start_ticks": ticks}).encode())
    except BaseException as exc:
        os.write(answer, json.dumps({"error": f"{type(exc).__name__}: {exc}"}).encode())
        os._exit(1)
    for fd in (answer, log, null):
        os.close(fd)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _reseed()
    module, _, name = request["entry"].partition(":")
    args = list(request["args"])
    sys.argv = [module, *args]

    def run() -> object:
        function = getattr(importlib.import_module(module), name)
        takes = [
            one
            for one in inspect.signature(function).parameters.values()
            if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)
        ]
        return function(args) if takes else function()

    return run


def _enter(netns: str) -> None:
    """Live in that network namespace from now on. Python itself can only from 3.12 on."""
    handle = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {netns}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(handle)


def _show(request: dict[str, Any]) -> None:
    """Write name, command line and marker where /proc shows them: the memory our own command line and environment began in."""
    with open("/proc/self/comm", "wb") as comm:
        comm.write(request["instance"].encode()[:15])
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    argv_start, argv_end, env_start = (int(field) for field in fields[45:48])
    module = request["entry"].partition(":")[0]
    title = b"\0".join(word.encode() for word in ("python", "-m", module, *request["args"]))
    room = argv_end - argv_start - 1
    with open("/proc/self/environ", "rb") as environ:
        place = (b"\0" + environ.read()).index(f"\0{_MARKER}=".encode())
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(memory, title[:room].ljust(room, b"\0"), argv_start)
        os.pwrite(memory, request["marker"].encode(), env_start + place + len(_MARKER) + 1)
    finally:
        os.close(memory)


def _reseed() -> None:
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


if __name__ == "__main__":
    sys.exit(main())
