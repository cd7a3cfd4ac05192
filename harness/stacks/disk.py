"""A file system of an instance's own (`disk:`), which forgets what was not synced when its power is cut.

It is ext4 in a file beside the instance's directory, mounted there. The cut is the kernel's own: the file system is shut down
without flushing its log, as its developers test crashes, so that whatever no fsync (and no write-back) had brought to the
disk is gone, for any program, without a shim in it. Standard library only: the reaper and the process host use it too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InjectError, UnsafeError

__all__ = ["Seen", "cut_disk", "forgotten", "image_of", "mount_disk", "remount_disk", "require_disks", "unmount_disk"]

CANARY = ".blackstart-unsynced"
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
_LIMIT_S = 20.0
_BUSY_S = 3.0
_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN of linux/fs.h, EXT4_IOC_SHUTDOWN since 4.11
_NO_LOG_FLUSH = 2
# The kernel may write back what nobody synced, and then a cut does not take it. These keep it from doing so on purpose:
# `commit` is the log's own timer, and without `noauto_da_alloc` ext4 syncs some of what programs forget to.
_OPTIONS = "loop,noatime,nodev,nosuid,commit=900,noauto_da_alloc"


def require_disks() -> None:
    """Return when such file systems can be made here. Raises UnsafeError when we are not root, or something is missing."""
    if os.geteuid() != 0:
        raise UnsafeError("`disk:` needs root: only root can mount", remedy="run as root, or leave `disk:` out")
    for name, package in (("mkfs.ext4", "e2fsprogs"), ("mount", "mount"), ("umount", "mount")):
        if shutil.which(name, path=_PLACES) is None:
            raise UnsafeError(f"`disk:` needs the program {name}", remedy=f"install the package {package}")
    if not os.path.exists("/dev/loop-control"):
        raise UnsafeError("`disk:` needs loop devices, and /dev/loop-control is missing", remedy="modprobe loop")


def image_of(folder: str) -> str:
    """The file that holds the file system mounted at an instance's directory."""
    return f"{folder}.disk"


def mount_disk(folder: str, size_bytes: int, owner: tuple[int, int] | None = None) -> bool:
    """Mount the file system at an instance's directory, made when it never was; whether it was made.

    Legal when it is mounted. Raises UnsafeError with what the failing program said.
    """
    image = image_of(folder)
    made = not os.path.exists(image)
    if made:
        uid, gid = owner or (os.geteuid(), os.getegid())
        half = f"{image}.{os.getpid()}"
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.truncate(size_bytes)
        lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", f"root_owner={uid}:{gid},{lazy}", half)
        Path(half).rename(image)
    os.makedirs(folder, exist_ok=True)
    if not _mounted(folder):
        _run("mount", "-t", "ext4", "-o", _OPTIONS, image, folder)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(folder, "lost+found"))  # programs such as initdb want an empty directory
    return made


def unmount_disk(folder: str) -> None:
    """Unmount what is mounted at an instance's directory and remove the file that held it. Legal when there is none.

    Raises InjectError when somebody holds it: with the command that ends it.
    """
    if not os.path.exists(image_of(folder)):
        return
    _let_go(folder)
    Path(image_of(folder)).unlink(missing_ok=True)


def remount_disk(folder: str, size_bytes: int) -> None:
    """Unmount it and mount it again: what is read then is what its disk holds. Raises InjectError, UnsafeError."""
    _let_go(folder)
    mount_disk(folder, size_bytes)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as its readers see it, synced or not."""

    size_bytes: int
    digest: str


def cut_disk(folder: str, size_bytes: int) -> str:
    """What the power cut took, in words; afterwards the file system is mounted again as its disk holds it.

    Nobody may have it open: the instance is dead. A canary that is written now and never synced is gone afterwards, else the
    cut did not bite: then InjectError is raised, as it is when somebody else holds the file system.
    """
    Path(folder, CANARY).write_bytes(os.urandom(4096))
    before = _look(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    except OSError as exc:
        raise InjectError(f"{folder}: its file system cannot be shut down: {exc.strerror}") from exc
    finally:
        os.close(descriptor)
    remount_disk(folder, size_bytes)
    after = _look(folder)
    if CANARY not in before or CANARY in after:
        Path(folder, CANARY).unlink(missing_ok=True)
        raise InjectError(f"{folder}: what was written and not synced is still there, so power was not cut")
    return forgotten(before, after)


def forgotten(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> str:
    """In words what a cut took, from each file as it was seen before and after (name -> what was seen). Pure."""
    lost = []
    for name, was in sorted(before.items()):
        now = after.get(name)
        if name == CANARY or now == was:
            continue
        if now is None:
            lost.append(f"{name} ({was.size_bytes} B) is not there")
        elif now.size_bytes != was.size_bytes:
            lost.append(f"{name} is {now.size_bytes} B, was {was.size_bytes} B")
        else:
            lost.append(f"{name} holds what it held before")
    lost += [f"{name} is there again" for name in sorted(after.keys() - before.keys())]
    own = "; ".join(lost[:4]) + (f" and {len(lost) - 4} more" if len(lost) > 4 else "")
    return "an unsynced canary was there and is gone; " + (
        f"of the instance's own: {own}" if lost else "all that the instance had written was synced"
    )


def _look(folder: str) -> dict[str, Seen]:
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[os.path.relpath(path, folder)] = Seen(os.path.getsize(path), digest)
    return found


def _mounted(folder: str) -> bool:
    place = os.path.realpath(folder)
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        at = line.split(" ")[4]
        for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            at = at.replace(code, letter)
        if at == place:
            return True
    return False


def _let_go(folder: str) -> None:
    """Unmount it, waiting a bounded time for those who hold it. Raises InjectError when they still do."""
    deadline = time.monotonic() + _BUSY_S
    while _mounted(folder):
        try:
            _run("umount", folder)
        except UnsafeError as exc:
            if time.monotonic() > deadline:
                raise InjectError(
                    f"{exc.message}; `umount --lazy {folder}` takes it away from whoever holds it"
                ) from exc
            time.sleep(0.02)


def _run(name: str, *args: str) -> None:
    program = shutil.which(name, path=_PLACES) or name
    try:
        subprocess.run([program, *args], check=True, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.CalledProcessError as exc:
        raise UnsafeError(f"{name} {args[-1]}: {(exc.stderr or exc.stdout).strip()}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UnsafeError(f"{name} {args[-1]}: {exc}") from exc
