#!/usr/bin/env python3
"""What operators do to the reference stack, by its own API. Only the standard library: any Python 3.11 runs it.

genai.py post URL JSON [HEADER:VALUE ...]      ends with 0 when the answer is a 2xx, and prints it
genai.py refused URL JSON [HEADER:VALUE ...]   ends with 0 when the answer is a 4xx, and prints it
genai.py holds URL .PATH VALUE                 ends with 0 when that field of a GET's answer is VALUE, with 1 when not
genai.py matrix ROOT URL ...                   tries every role at every endpoint of the gateways, and counts the wrong answers
genai.py flip FOLDER                           flips one bit of a finished turn in the log of a journal that is down
genai.py forge KIND URL ROOT                   sends the journal at URL a frame that its peer did not send, and prints what came

KIND of a forged frame, with a turn that its client never sent:
stranger   by one who has no key              usurper   the same, in a higher epoch, with the receiver as its primary
altered    sealed, but no region signed it    deposed   sealed, without the turn, of a lower epoch
replayed   sealed, without the turn, with a number that was there before
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import sys
import time
import urllib.error
import urllib.request

_WITHIN_S = 3.0


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    if name != "key":
        return name, value
    root, _, said = value.partition(":")
    generation, _, role = said.partition(":")
    return "authorization", f"Bearer {key(root, generation, role)}"


def key(root: str, generation: str, role: str = "") -> str:
    """The bearer token of a role; of a tenant for no role."""
    said = f"{role}.{generation}" if role not in ("", "tenant") else generation
    return f"{said}.{hmac.new(root.encode(), said.encode(), hashlib.sha256).hexdigest()}"


def ask(url: str, body: str | None = None, headers: tuple[str, ...] = ()) -> tuple[int, str]:
    """Status and text of one request: a POST of JSON when there is a body."""
    given = dict(_header(text) for text in headers)
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json", **given})
    try:
        with urllib.request.urlopen(request, timeout=_WITHIN_S) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def field(answer: object, path: str) -> object:
    """The field `.a.b` of a JSON object; None where there is none."""
    for name in path.strip(".").split("."):
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


ALLOWED = {
    "POST /v1/chat/completions": {"tenant"},
    "GET /v1/sessions/none": {"tenant"},
    "POST /v1/registry/none": {"operator"},
    "POST /admin/setup": {"operator"},
    "GET /v1/quarantine": {"operator"},
    "GET /v1/refusals": {"operator"},
    "GET /v1/billing": {"operator"},
    "GET /v1/journal/digest": {"operator", "control"},
    "POST /internal/config": {"control"},
    "GET /v1/about": {"tenant", "operator", "control", "stranger", "nobody"},
}
"""What ought to be, written down here and not taken from the program. The requests make no sense ({}): 400 is an open door."""


def matrix(root: str, urls: list[str]) -> dict[str, object]:
    """Every answer of a door that is not as it ought to be; gateways that do not answer at all are left out."""
    wrong, asked = [], 0
    for url in urls:
        for endpoint, allowed in ALLOWED.items():
            method, _, path = endpoint.partition(" ")
            for role in ("tenant", "operator", "control", "stranger", "nobody"):
                token = key("guessed" if role == "stranger" else root, "1", "operator" if role == "stranger" else role)
                given = () if role == "nobody" else (f"authorization:Bearer {token}",)
                try:
                    status, _ = ask(url + path, "{}" if method == "POST" else None, given)
                except OSError:
                    continue
                asked += 1
                if (status not in (401, 403)) != (role in allowed):
                    wrong.append(f"{role}: {status} for {endpoint} at {url}")
    return {"breaches": len(wrong), "asked": asked, "wrong": wrong[:20]}


def flip(folder: str) -> str:
    """What was done: the lowest bit of a turn's value, of those that are finished the tenth from the end."""
    with sqlite3.connect(f"{folder}/journal.sqlite") as db:
        finished = (
            "SELECT seq, value FROM log WHERE kind = 'turn' AND seq IN (SELECT ref FROM log) ORDER BY seq DESC LIMIT 10"
        )
        seq, value = db.execute(finished).fetchall()[-1]
        flipped = value[:-1] + chr(ord(value[-1]) ^ 1)
        db.execute("UPDATE log SET value = ? WHERE seq = ?", (flipped, seq))
    db.close()
    return f"entry {seq}: {value!r} is now {flipped!r}"


def forged(kind: str, url: str, root: str) -> dict[str, object]:
    """The frame: well-formed, and built on the end of the receiver's log as it is now."""
    status = json.loads(ask(f"{url}/v1/journal/status")[1])
    config, peer = dict(status["config"]), status["frames"]
    config["epoch"] += {"usurper": 1000, "deposed": -1}.get(kind, 0)
    if kind == "usurper":
        config |= {"primary": status["region"], "sync": [status["region"]]}
    lines = ask(f"{url}/v1/journal/export")[1].splitlines()
    session = next(said[4] for line in reversed(lines) if (said := json.loads(json.loads(line)["body"]))[3] == "turn")
    end = json.loads(ask(f"{url}/v1/journal/digest")[1])
    seq, digest = end["seq"], end["digest"]
    name, body = f"forged-{kind}", json.dumps({"request_sha": "of nothing"})
    stated = [seq + 1, config["epoch"], config["primary"], "turn", session, name, name, None, body, time.time_ns()]
    own = hashlib.sha256((digest + json.dumps(stated)).encode()).hexdigest()
    entries = [] if kind in ("deposed", "replayed") else [[*stated, digest, own, ""]]
    frame = {"config": config, "prev_seq": seq, "prev_hash": digest, "entries": entries, "head": seq + len(entries)}
    frame |= {"to": peer["life"], "number": peer["number"] + (0 if kind == "replayed" else 1)}
    if kind in ("stranger", "usurper"):
        return frame
    key = hmac.digest(root.encode(), b"frame", "sha256")
    text = json.dumps(frame, sort_keys=True, separators=(",", ":"))
    return frame | {"mac": hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}


def main(argv: list[str]) -> int:
    match argv:
        case ["post", url, body, *headers]:
            status, text = ask(url, body, tuple(headers))
            print(status, text)
            return 0 if 200 <= status < 300 else 2
        case ["refused", url, body, *headers]:
            status, text = ask(url, body, tuple(headers))
            print(status, text)
            return 0 if 400 <= status < 500 else 2
        case ["holds", url, path, value]:
            status, text = ask(url)
            found = field(json.loads(text), path) if status == 200 else None
            print(status, found)
            return 0 if str(found) == value else 1
        case ["matrix", root, *urls]:
            print(json.dumps(matrix(root, urls)))
            return 0
        case ["flip", folder]:
            print(flip(folder))
            return 0
        case ["forge", kind, url, root]:
            print(*ask(f"{url}/v1/journal/push", json.dumps(forged(kind, url, root))))
            return 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
