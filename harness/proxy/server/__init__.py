"""The embedded fault proxy: a TCP proxy in a process of its own that speaks Toxiproxy's HTTP API, and a little more.

Here: the data path, the toxics, the control API and the process around them. Not here: any client of that API; nothing
of this package is imported by the rest of Blackstart, which only starts it with `python -m harness.proxy.server`.

The plain API (methods, paths, status codes, messages, content types) is that of Toxiproxy 2.12. `GET /version` answers
`2.12.0-blackstart`, and every proxy carries one more key, `blackstart`, with its options; both tell the two apart.

Where Toxiproxy misbehaves, ours differs on purpose: docs/fault-proxy.md has the list, tests/proxy/test_differences.py shows it.

As in Toxiproxy: `toxics` in a create or populate body are ignored; populate leaves an unchanged proxy with its toxics
and its enabled flag; a proxy that listens on port 0 counts as changed; names and attributes unknown to us are ignored.

Beyond Toxiproxy:

- Toxic `partition` {hold ms}: stops reading that direction without closing. Open connections hear nothing; end of
  stream and resets do not pass either. While one with toxicity 1 stands, nobody is accepted: the first new connect may
  succeed and hears nothing, later ones are not answered at all. On removal connections resume where they stood when
  the toxic is younger than `hold` (default `--hold`), else they are reset. What the proxy had already read moves on.
- Option `mirror_refusal` (in `"blackstart": {...}` of a create or update body): while the upstream refuses, the
  listener is closed and the upstream is tried every 25 ms; the client that found out is reset before a byte is read.
  Without it (the default), clients are accepted and then reset, where Toxiproxy accepts and closes.
- Option `http`: connections carry HTTP/1 and may have HTTP toxics, which act per request and count as downstream:
  `http_error` {status, retry_after ms, as_date 0 or 1}, `empty_reply`, `slow_first_byte` {delay ms}, `stall_stream`, `cut_stream`,
  `truncate_stream`, `in_band_error` {after_chunks each}, `garble` {bytes}. Toxicity is the share of requests, drawn from
  the seed, the link, the type and how many requests met the toxic before. A request keeps the toxics that stood when it
  began. Without any, bytes pass as they came; what is not HTTP/1 (an upgrade, another protocol) passes in any case.
- Option `tls`: the upstream is spoken to in TLS, its certificate checked, and called by its own name in `Host`.
- `GET /blackstart/links`: live counters, connections, toxics with their times on CLOCK_MONOTONIC and the connections
  they touched. `POST /blackstart/links/NAME/reset` resets the open connections. `POST /blackstart/witness`
  {"source_port": N} makes the next connection from that port a witness: its bytes and its connection count apart.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a server run with these arguments (default `sys.argv[1:]`): 0 after SIGTERM, 2 for bad ones."""
    from harness.proxy.server.app import main as run

    return run(argv)
