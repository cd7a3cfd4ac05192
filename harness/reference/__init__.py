"""genai: the reference AI serving stack, the system that drills are run against by default.

Ordinary programs on loopback that import nothing of the harness: an edge, and in each of two regions a gateway, an
engine (an oracle: every answer can be checked byte for byte) and a journal. `tiny` is these seven processes.

    client -> edge -> gateway-eu -> engine-eu          every arrow may be a link through a fault proxy
                 \\        \\-> journal-eu
                  \\                ^ |   push: the primary's log to the standby
                   \\               | v
                    -> gateway-us -> journal-us, engine-us

The replication protocol
------------------------
One log per region, a hash chain. A turn is two entries: `turn`, before any token is generated, and `outcome`, when
its answer is complete. **A turn is acknowledged** (finish_reason and [DONE], or the 200 body) when its outcome counts.

*Configuration.* (epoch, primary, sync, mode). Only the edge makes one; each epoch is made once, and is on the edge's
disk before anyone hears of it. A journal keeps the highest it was told, by the edge or by a push, and refuses lower
ones and a different one of the same epoch (409, counted): it is fenced. The primary of an epoch writes it as an entry,
so that a log which went on under the old epoch differs from it in exactly that place.

*An entry counts* in mode sync when it is durable in every region of `sync`; the primary ships only what it has made
durable itself, so a standby's log is always a beginning of its primary's. In mode async it counts when it is durable
locally **and** the primary holds a lease. Leases run from a reading of the primary's own clock that it told the edge
before, so a lease that is delivered late (a region was frozen) is only shorter; the edge promotes no one before the
last one it may have granted is over.

*Who may be promoted.* The edge keeps the set `promotable`: regions that hold every entry that counts. A region that is
down is replaced by a promotable one in a new epoch with sync = {new primary}; from its first push or first answer on,
the old primary is fenced. If no such region is up, nothing is served: an acknowledged turn is never given up for it.

*A silent standby.* A primary whose standby does not answer cannot acknowledge. It says so in its status; the edge,
which reaches it, takes the standby out (new epoch, sync = {primary}, promotable = {primary}) and only then does the
primary go on alone, saying `x-degraded: unreplicated`. So when the link between the regions is cut, the edge decides.

*A returning region* follows the pushes of the new primary. Where the logs part (found by hash), its own tail is moved
to quarantine, never merged, and the primary's entries take its place; until it has caught up once it answers no
reads. Then it joins: a new epoch with sync = both. From that moment every entry needs both; when the standby also
holds all that counted before, it becomes promotable. There is no failback: it stays the standby.

*Interleavings worth knowing.*
- Promotion while commits are under way: the push and the change of epoch go through the standby's one writer. A push
  that came first is in the log of the new primary, and may be acknowledged by the old; one that came after is refused.
- The old primary wakes after a freeze: it cannot count anything (sync: the standby refuses; async: its lease is over).
  Turns it was working on fail as `fenced`, and stay as a tail for the quarantine.
- An attempt committed and replicated but was never answered: the resend, with the same idempotency key, finds the
  outcome at the new primary and is answered from the log. If only the turn was replicated, it is continued, not
  accepted again. If neither was, it is accepted there; the old region's copy goes to quarantine.
- A primary restarts before anyone noticed: its tail is shipped to the standby before anything of it counts, or shows.
- A push delivered late or twice: entries already there are skipped; an older epoch is refused.

Running again
-------------
A turn's entry holds its request, so that it can be run again: `POST /v1/chat/completions` with `x-dry-run` at any region's
gateway generates the answer and journals nothing. `GET /v1/journal/export` at a journal hands out its whole log, for
whoever wants to verify the chain.

What reaches clients
--------------------
x-served-by, x-region, x-epoch, x-attempts, x-answer-sha, and x-degraded or x-cached where they apply. The last chunk
of a stream repeats them in `serving`, because a resumed stream ends elsewhere than its headers said. Each event's id is
the range `start:end` of its tokens. 400, 409, 422, 429 and 503 say that nothing happened; 502 and 504, and an error
event in a stream, that it cannot be known.
"""
