"""A journal in PostgreSQL: what it does in SQLite, and what a server that goes away, hangs or comes back makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.reference.channel import Refused
from harness.reference.database import Database, DatabaseError, Postgres, Sqlite
from harness.reference.journal import Config, Conflict, Draft, Journal
from harness.reference.metrics import Metrics
from harness.reference.replica import Replica
from tests.ports import free_port

BIN = Path("/usr/lib/postgresql/15/bin")
SCRIPT = Path(__file__).parents[2] / "experiments" / "stacks" / "genai-real" / "postgres.sh"
pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.skipif(not (BIN / "postgres").exists(), reason="needs postgresql-15"),
]
EU = Config(epoch=1, primary="eu", sync=("eu",), mode="sync")
US = Config(epoch=2, primary="us", sync=("us",), mode="sync")
USER = "postgres" if os.geteuid() == 0 else None


class Server:
    """One server as the stack runs it, in a folder that its user may enter."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"
        self.process: subprocess.Popen[bytes] | None = None
        self._run("init")

    def _command(self, verb: str) -> list[str]:
        return ["sh", str(SCRIPT), verb, str(self.folder / "data"), str(self.port)]

    def _run(self, verb: str) -> None:
        subprocess.run(self._command(verb), check=True, capture_output=True, user=USER, env=self._told, cwd=self.folder)

    @property
    def _told(self) -> dict[str, str]:
        return {"PG_BIN": str(BIN), "PATH": os.environ["PATH"]}

    def start(self) -> None:
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(
                self._command("serve"), stdout=out, stderr=out, user=USER, env=self._told, cwd=self.folder
            )

    def stop(self) -> None:
        """At once: no connection is ended with a word."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)

    def freeze(self, number: int = signal.SIGSTOP) -> None:
        """The server and everyone who serves a connection of it."""
        assert self.process is not None
        told = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        for pid in (self.process.pid, *map(int, told.stdout.split())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@pytest.fixture
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="journal-pg-"))
    if USER is not None:
        shutil.chown(folder, USER)
    made = Server(folder)
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.freeze(signal.SIGCONT)
        made.stop()
    shutil.rmtree(folder)


@pytest.fixture
def postgres(server: Server) -> Iterator[Postgres]:
    database = Postgres(server.url)
    yield database
    database.close()


def steps(seed: int) -> list[Callable[[Journal], Any]]:
    """What a log may be told, in any order; the same for the same seed."""
    chance = random.Random(seed)

    def one() -> Callable[[Journal], Any]:
        number, ref = chance.randrange(40), chance.randrange(1, 30)
        turn = Draft(
            kind="turn", session=f"s{number % 3}", value=f'v{number}é"', idem=f"k{number}", body={"request_sha": "x"}
        )
        outcome = Draft(kind="outcome", idem=f"k{number}", ref=ref, body={"answer_sha": f"sha{number}", "usage": None})
        record = Draft(kind="record", value="template", body={"value": number})
        return chance.choice(
            [
                lambda j: j.append(turn).seq,
                lambda j: j.append(outcome).seq,
                lambda j: j.append(record).seq,
                lambda j: getattr(j.turn_of(f"k{number}"), "seq", None),
                lambda j: getattr(j.outcome_of(ref), "seq", None),
                lambda j: [one["value"] for one in j.session(f"s{number % 3}", ref)],
                lambda j: j.records,
                lambda j: [entry.seq for entry in j.entries(ref, ref + 5)],
            ]
        )

    return [one() for _ in range(60)]


def told(database: Database, seed: int) -> tuple[Any, ...]:
    journal = Journal(database, "eu")
    journal.batch([lambda j: j.set_config(EU)])
    found = [journal.batch(steps(seed)[at : at + 7]) for at in range(0, 60, 7)]
    return found, journal.last_seq, journal.records, journal.config, journal.reign


def test_it_answers_as_it_does_in_sqlite(postgres: Postgres, tmp_path: Path) -> None:
    for seed in range(8):
        assert told(postgres, seed) == told(Sqlite(tmp_path / f"{seed}.sqlite"), seed)
        for table in ("log", "config", "quarantine"):
            postgres.run(f"DROP TABLE {table}")


def test_a_fenced_tail_goes_to_quarantine_and_all_is_there_after_reopening(postgres: Postgres, tmp_path: Path) -> None:
    mine, other = Journal(postgres, "eu"), Journal(Sqlite(tmp_path / "us"), "us")
    mine.batch([lambda j: j.set_config(EU)])
    common = mine.batch([lambda j: j.append(Draft(kind="turn", session="s", value="v1", idem="k1"))])
    other.batch([lambda j: j.extend((0, "0" * 64), common, 1), lambda j: j.set_config(US)])
    mine.batch([lambda j: j.append(Draft(kind="turn", session="s", value="lost", idem="k2"))])
    theirs = other.batch(
        [lambda j: j.append(Draft(kind="epoch")), lambda j: j.append(Draft(kind="turn", session="s", value="v2"))]
    )
    assert mine.batch([lambda j: j.extend((9, theirs[-1].hash), [], 2)]) == [Conflict(hint=2)]
    assert mine.batch([lambda j: j.set_config(US), lambda j: j.extend((1, common[0].hash), theirs, 2)])[1] == 3
    again = Journal(postgres, "eu")
    assert (again.last_hash, again.config, again.quarantined) == (other.last_hash, US, 1)
    assert [turn["value"] for turn in again.session("s", 9)] == ["v1", "v2"]
    assert [turn["value"] for turn in again.fenced()] == ["lost"]
    assert list(again.exported()) == list(other.exported())


def test_a_server_that_ends_undoes_the_batch_and_is_used_again_when_it_is_back(
    postgres: Postgres, server: Server
) -> None:
    journal = Journal(postgres, "eu")
    journal.batch([lambda j: j.set_config(EU), lambda j: j.append(Draft(kind="turn", value="one"))])

    def ends(log: Journal) -> None:
        log.set_config(US)
        log.append(Draft(kind="turn", value="two"))
        server.stop()
        log.append(Draft(kind="turn", value="three"))

    with pytest.raises(DatabaseError):
        journal.batch([ends])
    assert (journal.last_seq, journal.config) == (1, EU), "what is not there is not taken for being there meanwhile"
    with pytest.raises(DatabaseError):
        journal.batch([lambda j: j.append(Draft(kind="turn", value="four"))])
    server.start()
    deadline = time.monotonic() + 20
    while True:
        try:
            (entry,) = journal.batch([lambda j: j.append(Draft(kind="turn", value="five"))])
            break
        except DatabaseError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert [each.value for each in journal.entries(0, 9)] == ["one", "five"]
    assert entry.seq == journal.last_seq == 2


async def well(asked: Any) -> None:
    """It answers, however busy this machine is."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(Refused):
                await asked.status()
                return


async def test_a_server_that_hangs_is_no_answer_and_one_that_is_gone_a_refusal(server: Server) -> None:
    from harness.reference.journal_server import _Server

    executor = ThreadPoolExecutor(max_workers=1)
    database = await asyncio.get_running_loop().run_in_executor(executor, Postgres, server.url)
    journal = await asyncio.get_running_loop().run_in_executor(executor, Journal, database, "eu")
    replica = Replica(journal, executor, "eu", Metrics(), frozenset())
    async with asyncio.TaskGroup() as tasks:
        asked = _Server(replica, tasks, frozenset())
        await well(asked)
        server.freeze()
        with pytest.raises(Refused) as hung:
            await asked.status()
        server.freeze(signal.SIGCONT)
        assert hung.value.code == "stuck"
        await well(asked)
        server.stop()
        with pytest.raises(Refused) as gone:
            await asked.status()
        assert gone.value.code == "journal_failed"
    executor.shutdown()
    database.close()


def test_nobody_there_is_told_in_the_end() -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseError):
        Postgres(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres", within_s=0.5)
    assert time.monotonic() - began >= 0.5


def test_lax_answers_before_the_log_is_on_disk(server: Server) -> None:
    for lax, level in ((False, "local"), (True, "off")):
        database = Postgres(server.url, lax=lax)
        assert database.run("SHOW synchronous_commit") == [(level,)]
        database.close()
