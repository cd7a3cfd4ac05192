#!/usr/bin/env python3
"""What operators do to the reference stack, by its own API. Only the standard library: any Python 3.11 runs it.

genai.py post URL JSON [HEADER:VALUE ...]      ends with 0 when the answer is a 2xx, and prints it
genai.py refused URL JSON [HEADER:VALUE ...]   ends with 0 when the answer is a 4xx, and prints it
genai.py holds URL .PATH VALUE                 ends with 0 when that field of a GET's answer is VALUE, with 1 when not
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import urllib.error
import urllib.request

_WITHIN_S = 3.0


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    if name != "key":
        return name, value
    root, _, generation = value.partition(":")
    proof = hmac.new(root.encode(), generation.encode(), hashlib.sha256).hexdigest()
    return "authorization", f"Bearer {generation}.{proof}"


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
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
