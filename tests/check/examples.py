"""`python -m tests.check.examples > docs/checks.md`: every check with its definition, source and example."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from literal import ONE, TWO, S, Script, judge

from harness.check.context import CheckContext
from harness.history.chain import FIRST
from harness.history.exports import Export
from harness.history.op import Op
from harness.model.result import CheckResult
from harness.registry import catalog

HEAD = """\
# Data checks

What clients wrote and read, judged. Each check is a pure function of the recorded history; its verdict is *valid*, *invalid* or
*unknown*, and invalid beats unknown beats valid. An operation that ended `info` (nobody can know) may have happened at any time
after it was sent, or never. This page is made by `python -m tests.check.examples`, which judges every example while it writes it;
a test holds the two together. In the examples a fault named `eu-down` is in effect from 10 s to 20 s.
"""


def durable() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.final(["a"])
    return script, ONE


def exactly_once() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 11, 12)
    script.final(["a", "a"])
    return script, ONE


def session_order() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.final(["b", "a"])
    return script, ONE


def resume() -> tuple[Script, CheckContext]:
    script = Script()
    whole = {"offsets": [[0, 3], [5, 9]], "length": 9, "exact": None}
    script.write("a", 9, 12, chunks=7, result=json.dumps(whole))
    script.final(["a"])
    return script, ONE


def converged() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.final(["a", "b"], "eu-west")
    script.final(["a"], "us-east")
    return script, TWO


def phantom() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 11, 12)
    script.final(["a", "x"])
    return script, ONE


def fresh() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 11, 12)
    script.read([], 13, 14)
    script.final(["a"])
    return script, ONE


def session_guarantees() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 1, 2)
    script.read(["a"], 11, 12)
    script.read([], 13, 14)
    script.final(["a"])
    return script, ONE


def single_writer() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 11, 12, epoch=2)
    script.write("b", 13, 14, epoch=1)
    return script, ONE


def counter() -> tuple[Script, CheckContext]:
    script = Script("counter")
    script.write("5", 11, 12, idem="k-a")
    script.final({"value": 10, "events": ["k-a", "k-a"]})
    return script, replace(ONE, model="counter")


def linearizable() -> tuple[Script, CheckContext]:
    script = Script("register")
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.read("a", 13, 14)
    return script, replace(ONE, model="register")


def append_order() -> tuple[Script, CheckContext]:
    script = Script("list-append")
    script.write_word = "txn"
    one = [["append", "x", 1], ["r", "y", [1]]]
    two = [["append", "y", 1], ["r", "x", [1]]]
    for number, parts in enumerate((one, two)):
        text = json.dumps(parts)
        script.write(text, 11, 12, result=text, idem=f"t{number}")
    return script, replace(ONE, model="list-append")


def content() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 11, 12, compared=1)
    script.write("b", 13, 14, compared=1, wrong=True)
    return script, ONE


def cache_sound() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 4, 5, input="q of tenant 1", answer="x")
    script.write("b", 11, 12, input="q of tenant 1", answer="x", cached=True)
    script.write("c", 13, 14, input="q of tenant 2", answer="x", cached=True)
    return script, ONE


def replay() -> tuple[Script, CheckContext]:
    script = Script()
    script.write("a", 11, 12, answer="x", version="r1")
    script.read(
        None,
        61,
        62,
        f="replay",
        phase="final",
        region="eu-west",
        value="a",
        compared=1,
        wrong=True,
        answer="y",
        version="r1",
    )
    return script, ONE


def sealed() -> tuple[Script, CheckContext]:
    script = Script()
    prev, lines = FIRST, []
    for number, said in enumerate(("deploy r1", "promote us-east", "deploy r2"), start=1):
        body = json.dumps([said, number * S])
        digest = hashlib.sha256((prev + body).encode()).hexdigest()
        lines.append(json.dumps({"prev": prev, "hash": digest, "body": body, "at_unix_ns": number * S}))
        prev = digest
    script.exports.append(Export(name="eu", lines=(lines[0], lines[2])))
    return script, replace(ONE, exports=("eu",))


EXAMPLES: dict[str, Callable[[], tuple[Script, CheckContext]]] = {
    "durable": durable,
    "exactly-once": exactly_once,
    "session-order": session_order,
    "resume": resume,
    "converged": converged,
    "phantom": phantom,
    "fresh": fresh,
    "session-guarantees": session_guarantees,
    "single-writer": single_writer,
    "counter": counter,
    "linearizable": linearizable,
    "append-order": append_order,
    "content": content,
    "cache-sound": cache_sound,
    "replay": replay,
    "sealed": sealed,
}
"""Check -> a history on which it is invalid. `exec` runs a program of the user's: it has none."""
SPECS: dict[str, dict[str, Any]] = {"cache-sound": {"within_ns": 8 * S}}
"""What an example is judged with."""


def judged(name: str) -> tuple[Script, CheckResult]:
    """An example and what its check says of it."""
    script, context = EXAMPLES[name]()
    return script, judge(script.history(), name, context, **SPECS.get(name, {}))


def page() -> str:
    """The whole page."""
    return HEAD + "".join("\n" + "\n".join(section(name)) + "\n" for name in catalog().names("check"))


def section(name: str) -> Iterator[str]:
    """One check: what it holds, on what, how it is decided, and its example."""
    kind = catalog().check(name)
    yield f"## {name}\n"
    yield f"{kind.doc}\n"
    models = ", ".join(f"`{model}`" for model in sorted(kind.models)) or "any"
    counts = ", ".join(f"`{name}.{count}`" for count in kind.counts) or "none"
    yield f"Models: {models}. Counts for objectives: {counts}. In an experiment: `{kind.example}`\n"
    told = re.sub(r"\s+", " ", inspect.getdoc(kind.load()) or "").strip()
    yield told
    if name in EXAMPLES:
        script, result = judged(name)
        yield "\nWith `within: 8s`:" if name in SPECS else ""
        yield "\n```text" if name in SPECS else "```text"
        yield from (line(op) for op in script.ops)
        for export in script.exports:
            yield from (f"{export.name}: {shortened(text)}" for text in export.lines)
        yield f"-> {result.verdict}: {result.sentence}"
        yield "```"


def shortened(text: str) -> str:
    """A line of a journal with its digests cut short."""
    return re.sub(r"([0-9a-f]{8})[0-9a-f]{56}", r"\1...", text)


def line(op: Op) -> str:
    """An op as the example shows it."""
    span = f"{(op.sent_ns or 0) / S:g} s to {(op.done_ns or 0) / S:g} s"
    what = f"final {op.f}" if op.phase == "final" else op.f
    parts = [f"{span}: {what}", op.value or "", f"epoch {op.epoch}" if op.epoch else "", op.outcome]
    parts += [
        f"asked {op.input!r}, answered {op.answer!r}" if op.input else f"answered {op.answer!r}" if op.answer else ""
    ]
    parts += [
        "from a cache" if op.cached else "",
        "compared: not as it had to be" if op.wrong else "compared" if op.compared else "",
    ]
    parts += [f"returned {op.result}" if op.result else "", f"in {op.region}" if op.phase == "final" else ""]
    return " ".join(part for part in parts if part)


if __name__ == "__main__":
    sys.stdout.write(page())
