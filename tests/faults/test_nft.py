"""nftables: the text of tables, and tables of ours in the kernel, here and in another process's network namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from harness.errors import InjectError, UnsafeError
from harness.faults import nft
from harness.faults.nft import Chain, Table

privileged = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def counting(name: str) -> Table:
    """A table that counts what arrives from 127.91.0.1, and lets all pass."""
    rule = "ip saddr 127.91.0.1 counter name seen"
    return Table(name=name, counters=("seen",), chains=(Chain(name="arrived", hook="input", rules=(rule,)),))


def test_a_table_is_one_transaction_and_replaces_its_remains() -> None:
    table = Table(
        name="blackstart_r_f",
        counters=("seen",),
        sets={"known": ("type ipv4_addr", "size 4")},
        chains=(
            Chain(name="hit", rules=("counter name seen drop",)),
            Chain(name="arrived", hook="input", rules=("ip saddr @known goto hit",)),
        ),
    )
    assert nft.table_text(table).splitlines() == [
        "add table inet blackstart_r_f",
        "delete table inet blackstart_r_f",
        "table inet blackstart_r_f {",
        "  counter seen {",
        "  }",
        "  set known {",
        "    type ipv4_addr",
        "    size 4",
        "  }",
        "  chain hit {",
        "    counter name seen drop",
        "  }",
        "  chain arrived {",
        "    type filter hook input priority -300; policy accept;",
        "    ip saddr @known goto hit",
        "  }",
        "}",
    ]


@pytest.mark.parametrize("name", ["", "a;b", "drop all", "1st", "Ä"])
def test_a_name_that_nft_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a table name"):
        nft.table_text(counting(name))


def test_own_names_differ_and_hold_only_what_nft_reads() -> None:
    one, other = (nft.own_table("20261125T100000Z-cut-7f3a", "eu/db#2") for _ in range(2))
    assert one != other
    assert one.startswith("blackstart_20261125t100000z_cut_7f3a_eu_db_2_")
    assert nft.table_text(counting(one))
    assert nft.undo_command("blackstart_x", "nsenter -t 7 -n") == "nsenter -t 7 -n nft delete table inet blackstart_x"


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "program", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UnsafeError, match="no nft program here; install the package nftables"):
        nft.require_nft()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnsafeError, match="kernel rules need root; run as root"):
        nft.require_nft()


@pytest.fixture
def other_namespace() -> Iterator[int]:
    """A descriptor of another network namespace."""
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 60"], stdout=-1
    )
    assert process.stdout is not None
    with process.stdout as out:
        assert out.readline() == b"up\n"
    try:
        netns = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        process.kill()
        process.wait()
    yield netns  # a namespace lives as long as anybody holds it
    os.close(netns)


@pytest.mark.privileged
@pytest.mark.slow
@privileged
async def test_a_table_stands_counts_and_goes(other_namespace: int) -> None:
    name = nft.own_table("test", "count")
    assert await nft.count(name) == {}
    await nft.drop_table(name)  # legal when there is none
    for netns in (None, other_namespace):
        await nft.load_table(counting(name), netns)
        try:
            assert await nft.exists(name, netns)
            inside = [] if netns is None else ["nsenter", f"--net=/proc/{os.getpid()}/fd/{netns}"]
            ping = "import socket; s = socket.socket(2, 2)"
            send = f"{ping}; s.bind(('127.91.0.1', 0)); s.sendto(b'12345', ('127.91.0.1', 9))"
            subprocess.run([*inside, "python3", "-c", send], check=True, timeout=20)
            seen = (await nft.count(name, netns))["seen"]
            assert seen.packets >= 1
            assert seen.size_bytes >= 28 + 5
            await nft.load_table(counting(name), netns)
            assert (await nft.count(name, netns))["seen"].packets == 0, "loading again replaces"
        finally:
            await nft.drop_table(name, netns)
        assert not await nft.exists(name, netns)


@pytest.mark.privileged
@pytest.mark.slow
@privileged
async def test_a_refused_table_leaves_nothing_and_says_why(other_namespace: int) -> None:
    bad = Table(name="blackstart_test_bad", chains=(Chain(name="arrived", hook="input", rules=("no such rule",)),))
    with pytest.raises(InjectError, match=r"nft refused table blackstart_test_bad: .*no such rule"):
        await nft.load_table(bad)
    assert not await nft.exists(bad.name)
