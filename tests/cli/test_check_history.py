"""`blackstart check` on every format: Jepsen's EDN in its shapes, log lines, JSON lines, our own Parquet; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import SpecError, StoreError
from harness.history.edn import EdnError, read_all
from harness.history.op import Op
from harness.history.table import OpTable

STALE_EDN = """
{:process 0, :type :invoke, :f :write, :value 1, :time 10, :index 0}
{:process 0, :type :ok, :f :write, :value 1, :time 20, :index 1}
{:process 1, :type :invoke, :f :write, :value 2, :time 30, :index 2}
{:process 1, :type :ok, :f :write, :value 2, :time 40, :index 3}
{:process :nemesis, :type :info, :f :start, :value nil, :time 45, :index 4}
{:process 0, :type :invoke, :f :read, :value nil, :time 50, :index 5}
{:process 0, :type :ok, :f :read, :value %s, :time 60, :index 6}
"""


def run(tmp_path: Path, name: str, text: str, *flags: str) -> tuple[int, dict]:
    file = tmp_path / name
    file.write_text(text)
    done = CliRunner().invoke(app, ["check", str(file), "--json", *flags])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.parametrize(("value", "code"), [("2", 0), ("1", 1), ("nil", 1)])
@pytest.mark.parametrize("shape", ["lines", "vector", "tagged"])
def test_edn(tmp_path: Path, shape: str, value: str, code: int) -> None:
    text = STALE_EDN % value
    if shape == "vector":
        text = f"[{text}]"
    if shape == "tagged":
        text = text.replace("{:process", "#jepsen.history.Op{:process")
    found, judged = run(tmp_path, "h.edn", text, "--model", "register")
    assert found == code
    assert judged["calls"] == 3
    if code:
        assert judged["anomalies"][0]["anomaly"] == "not-linearizable"
        assert judged["anomalies"][0]["ids"][0] == 5


def test_log_lines_in_line_order_with_a_pending_write(tmp_path: Path) -> None:
    lines = [
        "INFO  jepsen.util - 0\t:invoke\t:write\t4",
        "INFO  jepsen.util - 1\t:invoke\t:read\tnil",
        "INFO  jepsen.util - 1\t:ok\t:read\t4",
        "INFO  jepsen.util - 0\t:info\t:write\t4\t:timeout",
        "INFO  jepsen.util - 1\t:invoke\t:cas\t[4 5]",
        "INFO  jepsen.util - 1\t:ok\t:cas\t[4 5]",
        "INFO  jepsen.util - :nemesis\t:info\t:start\tnil",
    ]
    assert run(tmp_path, "h.log", "\n".join(lines), "--model", "cas-register")[0] == 0
    lines += ["INFO  jepsen.util - 2\t:invoke\t:read\tnil", "INFO  jepsen.util - 2\t:ok\t:read\t3"]
    code, judged = run(tmp_path, "h.log", "\n".join(lines), "--model", "cas-register")
    assert (code, judged["verdict"], judged["anomalies"][0]["ids"][0]) == (1, "invalid", 7)


def event(process: int, kind: str, f: str, value: object, **more: object) -> str:
    return json.dumps({"process": process, "type": kind, "f": f, "value": value} | more)


def test_json_lines_with_keys(tmp_path: Path) -> None:
    rows = [
        event(0, "invoke", "write", ["x", 1]),
        event(0, "ok", "write", ["x", 1]),
        event(0, "invoke", "read", ["y", None]),
        event(0, "ok", "read", ["y", None]),
        event(0, "invoke", "read", ["x", None]),
        event(0, "ok", "read", ["x", 1]),
    ]
    code, judged = run(tmp_path, "h.jsonl", "\n".join(rows), "--model", "register", "--keyed")
    assert (code, judged["keys"]) == (0, 2)


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--observe-cas",), 1)])
def test_a_failed_cas_is_an_observation_only_where_asked(tmp_path: Path, flags: tuple[str, ...], code: int) -> None:
    rows = [
        event(0, "invoke", "write", 1),
        event(0, "ok", "write", 1),
        event(0, "invoke", "cas", [1, 2]),
        event(0, "fail", "cas", [1, 2]),
    ]
    assert run(tmp_path, "h.jsonl", "\n".join(rows), "--model", "cas-register", *flags)[0] == code


def test_transactions_by_name_and_in_real_time(tmp_path: Path) -> None:
    rows = [
        "{:process 0, :type :invoke, :f :txn, :value [[:append :x 1]]}",
        "{:process 0, :type :ok, :f :txn, :value [[:append :x 1]]}",
        "{:process 1, :type :invoke, :f :txn, :value [[:r :x nil]]}",
        "{:process 1, :type :ok, :f :txn, :value [[:r :x []]]}",
        "{:process 0, :type :invoke, :f :txn, :value [[:r :x nil]]}",
        "{:process 0, :type :ok, :f :txn, :value [[:r :x [1]]]}",
    ]
    text = "\n".join(rows)
    assert run(tmp_path, "h.edn", text, "--model", "list-append")[0] == 0
    code, judged = run(tmp_path, "h.edn", text, "--model", "list-append", "--realtime")
    assert (code, [each["anomaly"] for each in judged["anomalies"]]) == (1, ["G-single-realtime"])


def test_sets_and_queues(tmp_path: Path) -> None:
    rows = [
        event(0, "invoke", "add", 1),
        event(0, "ok", "add", 1),
        event(0, "invoke", "add", 2),
        event(0, "info", "add", 2),
        event(1, "invoke", "read", None),
        event(1, "ok", "read", [9, 9]),
    ]
    code, judged = run(tmp_path, "h.jsonl", "\n".join(rows), "--model", "set-full")
    assert code == 1
    assert {each["anomaly"] for each in judged["anomalies"]} == {"lost", "phantom", "duplicated"}
    queue = [
        event(0, "invoke", "enqueue", "a"),
        event(0, "ok", "enqueue", "a"),
        event(1, "invoke", "dequeue", None),
        event(1, "ok", "dequeue", "a"),
        event(1, "invoke", "dequeue", None),
        event(1, "ok", "dequeue", "a"),
    ]
    code, judged = run(tmp_path, "q.jsonl", "\n".join(queue), "--model", "total-queue")
    assert (code, [each["anomaly"] for each in judged["anomalies"]]) == (1, ["duplicated"])


@pytest.mark.parametrize("name", ["h.edn", "h.jsonl", "h.log"])
def test_an_empty_history_is_unknown(tmp_path: Path, name: str) -> None:
    code, judged = run(tmp_path, name, "", "--model", "register")
    assert (code, judged["why"]) == (3, "no call was answered")


def test_a_search_that_runs_out_of_time_is_unknown(tmp_path: Path) -> None:
    rows = [event(n, "invoke", "write", n) for n in range(40)] + [event(n, "ok", "write", n) for n in range(40)]
    rows += [event(50, "invoke", "read", None), event(50, "ok", "read", "never")]
    code, judged = run(tmp_path, "h.jsonl", "\n".join(rows), "--model", "register", "--budget", "100ms")
    assert (code, judged["why"]) == (3, "the budget was spent on 1 of 1 keys")


def test_our_own_parquet(tmp_path: Path) -> None:
    def op(n: int, f: str, at: int, **more: object) -> Op:
        return Op(op=n, f=f, key="k", intended_ns=at, sent_ns=at, done_ns=at + 1, outcome="ok", **more)  # type: ignore[arg-type]

    table = OpTable.of([op(7, "write", 1, value="a"), op(8, "write", 3, value="b"), op(9, "read", 5, result='"a"')])
    pq.write_table(table.arrow, tmp_path / "ops.parquet")
    done = CliRunner().invoke(app, ["check", str(tmp_path / "ops.parquet"), "--model", "register"])
    assert done.exit_code == 1
    assert "not-linearizable at index 9" in done.stdout
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(StoreError, match=r"bad\.parquet: not a readable history"):
        run(tmp_path, "bad.parquet", "no", "--model", "register")


@pytest.mark.parametrize(
    ("name", "text", "flags", "message"),
    [
        ("h.edn", "{:process 0 :type :ok :f :read :value 1}", (), "h.edn:1: process 0 ends a call that it never began"),
        ("h.edn", "{:process 0 :type :okay :f :read}", (), "h.edn:1: expected an event with type"),
        ("h.edn", "[{:process 0", (), "is never closed"),
        ("h.jsonl", '{"process": 0, ', (), "h.jsonl:1: expected one JSON event a line"),
        ("h.edn", "", ("--budget", "soon"), "--budget"),
        ("h.edn", "", ("--model", "regster"), "unknown model 'regster'; known: register"),
    ],
)
def test_what_is_no_history_is_refused(
    tmp_path: Path, name: str, text: str, flags: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SpecError) as refused:
        run(tmp_path, name, text, "--model", "register", *flags)
    assert message in str(refused.value)


def test_edn_values() -> None:
    text = '#{1 2} [nil true -3 4.5 1N "a\\"b\\n"] {:a \\x, "b" sym} #_ [dropped] #inst "2026" ; talk\n :last'
    assert list(read_all(text)) == [
        frozenset({1, 2}),
        (None, True, -3, 4.5, 1, 'a"b\n'),
        {"a": "x", "b": "sym"},
        "2026",
        "last",
    ]
    for bad in ("[1", "1]", "{:a}", '"open'):
        with pytest.raises(EdnError):
            list(read_all(bad))


def test_a_history_of_ours_without_calls_of_the_model_is_unknown(tmp_path: Path) -> None:
    turn = Op(op=0, f="append", key="s", value="v", intended_ns=0, sent_ns=0, done_ns=1, outcome="ok", phase="load")
    pq.write_table(OpTable.of([turn]).arrow, tmp_path / "0.parquet")
    done = CliRunner().invoke(app, ["check", str(tmp_path / "0.parquet"), "--json", "--model", "register"])
    assert done.exit_code == 3, done.exception
    assert json.loads(done.stdout)["calls"] == 0
