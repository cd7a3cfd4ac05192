"""Control groups as folders, on literal trees of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UnsafeError
from harness.faults.cgroups import groups_of


def tree(folder: Path, lines: str, *groups: str) -> dict[str, str]:
    (folder / "proc" / "7").mkdir(parents=True)
    (folder / "proc" / "7" / "cgroup").write_text(lines)
    for group in groups:
        (folder / "sys" / group).mkdir(parents=True)
        (folder / "sys" / group / "cgroup.procs").touch()
    return {"root": str(folder / "sys"), "proc": str(folder / "proc")}


def test_each_controller_of_version_1_has_a_tree_of_its_own(tmp_path: Path) -> None:
    lines = "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n2:cpuset:/\n0::/\n"
    where = tree(tmp_path, lines, "memory/docker/a", "cpu,cpuacct/docker/a", "cpuset")
    found = groups_of(7, ("cpu", "cpuset", "cpuacct"), **where)
    assert [Path(one).relative_to(where["root"]).as_posix() for one in found] == ["cpu,cpuacct/docker/a", "cpuset"]
    assert groups_of(7, ("memory",), **where)[0].endswith("/sys/memory/docker/a")


def test_version_2_has_one_for_all(tmp_path: Path) -> None:
    where = tree(tmp_path, "0::/system.slice/docker-a.scope\n", "system.slice/docker-a.scope")
    (tmp_path / "sys" / "cgroup.controllers").touch()
    (found,) = groups_of(7, ("cpu", "cpuset", "memory"), **where)
    assert found.endswith("/sys/system.slice/docker-a.scope")


def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    where = tree(tmp_path, "4:memory:/docker/a\n", "memory")
    with pytest.raises(UnsafeError, match=r"cannot find the control group \(memory\) of pid 7 under"):
        groups_of(7, ("memory",), **where)
    with pytest.raises(UnsafeError, match="pid 8 ended just now"):
        groups_of(8, ("memory",), **where)
