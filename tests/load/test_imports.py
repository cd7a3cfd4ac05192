"""Logs of k6, vegeta and Locust: literal files, the ops that they are, and the run that `import` makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.app import app
from harness.errors import SpecError
from harness.history.history import History
from harness.history.op import Op
from harness.load.imported import read_log

LOGS = Path(__file__).with_name("logs")
MS = 1_000_000
BEGAN = 1_764_000_000_019_500_000


def brief(op: Op) -> tuple[object, ...]:
    return op.f, op.outcome, op.error, op.status, op.intended_ns, op.done_ns


@pytest.mark.parametrize("name", ["k6.csv", "k6.json"])
def test_k6(name: str) -> None:
    log = read_log(LOGS / name)
    assert (log.tool, log.began_ns, log.closed_loop) == ("k6", BEGAN, None)
    assert [brief(op) for op in log.ops] == [
        ("get", "ok", None, 200, 0, 80_500_000),  # a sample bears the instant of the request's end
        ("get", "dropped", "dropped", None, 130_500_000, None),
        ("get", "dropped", "dropped", None, 130_500_000, None),
        ("post", "fail", "dial: connection refused", None, 180_500_000, 180_500_000),
        ("post", "info", "http 503", 503, 280_500_000, 880_500_000),  # a write: it may have been done
    ]
    assert (log.ops[0].first_ns, log.ops[0].key) == (80 * MS, "http://shop/cart")


@pytest.mark.parametrize("name", ["vegeta.json", "vegeta.csv", "locust.csv"])
def test_vegeta_and_locust(name: str) -> None:
    log = read_log(LOGS / name)
    assert (log.began_ns, log.closed_loop) == (BEGAN, name == "locust.csv")
    nanosecond = 0 if name == "locust.csv" else 1
    assert [(op.f, op.outcome, op.status, op.bytes, op.intended_ns, op.done_ns) for op in log.ops] == [
        ("get", "ok", 200, 52, 0, 80_500_000),
        ("post", "fail", None, 0, 180_500_000, 180_900_000),  # refused: surely not done
        ("post", "info", None, 0, 280_500_000 + nanosecond, 880_500_000 + nanosecond),
    ]
    assert (log.ops[2].error or "").endswith("EOF" if nanosecond else "without response')")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello\n", r"log.txt:1: not a log that is known; known: k6-csv, k6-json, vegeta-json"),
        ("metric_name,timestamp,metric_value\nhttp_reqs,1764000000,1\n", r"log.txt:2: .*K6_CSV_TIME_FORMAT=unix_nano"),
        ("metric_name,timestamp,metric_value\nhttp_reqs\n", "log.txt:2: fewer cells"),
        ("timestamp,request_type,name\n1.5,GET,/\n", "log.txt:2: no 'response_time_ms' in it"),
        ('{"code": 200}\n', "log.txt:1: no 'timestamp' in it"),
        ('{"code": 200\n', "log.txt:1: not a line of such a log"),
        ("metric_name,timestamp,metric_value\n", "log.txt: no requests in it"),
    ],
)
def test_what_is_no_log_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "log.txt"
    path.write_text(text)
    with pytest.raises(SpecError, match=said):
        read_log(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["k6.csv", "k6.json", "vegeta.json", "vegeta.csv", "locust.csv"])
def test_an_imported_log_is_a_run_that_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments = ["import", str(LOGS / name), "--reports", str(tmp_path), "--objective", "bad <= 1%", "--json"]
    arguments += ["--objective", "data_loss = 0"]
    app(arguments, standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    run = Path(told["run"])
    # two of three were bad; k6 dropped a half of its iterations, which decides nothing about the target
    assert told["verdict"] == ("INCONCLUSIVE" if name.startswith("k6") else "FAIL")
    result = json.loads((run / "result.json").read_text())
    objectives = {row["text"]: row for row in result["objectives"]}
    assert objectives["data_loss = 0"]["status"] == "unknown"
    assert "imported" in json.dumps(result["reasons"])
    assert result["validity"]["accounted"] is True
    assert result["validity"]["closed_loop"] is (not name.startswith("vegeta"))
    assert len(History.read(run).ops) == told["ops"]
    assert "report.html" in {path.name for path in run.iterdir()}
