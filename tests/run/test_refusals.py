"""Bad input as whole commands: a precise message, the promised exit code, nothing left running, nothing overwritten."""

from __future__ import annotations

import hashlib
import re
import socket
from pathlib import Path

import pytest

from tests.run.small import Small, processes_of

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path / "small")


WRONG = [
    ("experiment", "timeline:", "timelin:", "timelin", "timeline"),
    ("experiment", "timeout: 500ms", "timout: 500ms", "timout", "timeout"),
    ("experiment", "for: 500ms", "for: 500 parsecs", "500 parsecs", "durations are a number and"),
    ("experiment", "rate: 100/s", "rate: 100", "rate: 100", "/s"),
    ("experiment", "fault: refuse", "fault: refuze", "refuze", "refuse"),
    ("experiment", "on: {link: a}", "on: {link: aa}", "aa", "a"),
    ("experiment", "recovery_time <= 5s", "recovery_tme <= 5s", "recovery_tme", "recovery_time"),
    ("experiment", "stack: stack.yaml", "stack: stak.yaml", "stak.yaml", "stak.yaml"),
    ("stack", "ports: [http]", "prts: [http]", "prts", "ports"),
    ("stack", "${link:a}", "${lnk:a}", "lnk", "link"),
]


def test_every_typo_is_told_where_it_stands_and_nothing_is_begun(tmp_path: Path) -> None:
    begun = []
    for number, (document, old, new, *_) in enumerate(WRONG):
        case = Small(tmp_path / f"{number}")
        setattr(case, document, getattr(case, document).replace(old, new, 1))
        begun.append((case, case.start()))
    for (document, _, new, shown, remedy), (case, process) in zip(WRONG, begun, strict=True):
        out, talk = process.communicate(timeout=90)
        assert process.returncode == 2, (new, talk)
        lines = getattr(case, document).splitlines()
        places = re.findall(rf"^{document}\.yaml:(\d+):(\d+): error: ", talk, re.MULTILINE)
        line = next(number for number, text in enumerate(lines, start=1) if new in text)
        (column,) = [int(column) for found, column in places if int(found) == line]
        assert 1 <= column <= len(lines[line - 1]), (new, talk)
        assert shown in talk and remedy in talk and "^" in talk, (new, talk)
        assert out == "" and case.runs == [], new
    assert processes_of(tmp_path) == []


def refused(small: Small, *said: str) -> None:
    """The run is refused in these words, and leaves nothing running."""
    code, _, talk = small.run()
    assert code == 4, talk
    for words in said:
        assert words in talk, talk
    assert processes_of(small.folder) == []


def test_a_port_in_use_is_named_with_its_owner_and_no_record_is_written_over(small: Small) -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        small.stack = small.stack.replace("ports: [http]", f"ports: {{http: {port}}}")
        refused(small, f"port http = 127.0.0.1:{port} is in use by pid", "give another port in the stack file")
        before = digests(small)
        refused(small, "is in use by pid")
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
    assert len(small.runs) == 2, "a run directory is never used twice"
    assert {name: digest for name, digest in digests(small).items() if name in before} == before


def digests(small: Small) -> dict[str, str]:
    """Every file of every run so far."""
    files = (path for run in small.runs for path in run.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_stack_that_never_gets_ready_is_refused_and_ended(small: Small) -> None:
    ready = '    ports: [http]\n    ready: {http: "http://${addr:shop.http}/not-there", within: 2s}\n'
    small.stack = small.stack.replace("    ports: [http]\n", ready)
    refused(small, "instance shop: not ready within 2 s", "404")
    assert small.result()["verdict"] == "REFUSED"
    assert small.result()["faults"][0]["effect"] is None


def test_what_cannot_be_picked_or_may_not_be_drilled_is_refused_before_a_run_exists(small: Small) -> None:
    cut = "fault: refuse, on: {link: a}"
    for drillable, fault, said in (
        ("[shop]", cut, "link a is not drillable"),
        ('["link:*"]', "fault: kill, on: {region: here}", "matches only what is not drillable: shop"),
        ("[shop]", "fault: kill, on: {region: here, pick: 2}", "asks for 2 of 1"),
    ):
        case = Small(small.folder)
        case.stack = case.stack.replace('["link:*"]', drillable)
        case.experiment = case.experiment.replace(cut, fault)
        refused(case, "fault 'cut'", said, "drillable:" if "drill" in said else "pick at least 1")
        assert case.runs == []
