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
holds all that counted before, it becomes promotable. It stays the standby until an operator
says otherwise (`POST /v1/switch`): the role then goes to a promotable region that is up, in a new epoch, as in a promotion.

*Capacity.* A scaler (`scaling.py`) orders slots of the engines by what they will need when the order arrives; the standby is kept
as large as the largest, and a gateway lets in what its engine can carry (`--admit-per-slot`). Without the scaler capacity stays as
it is.

*Drift.* What a gateway runs with, apart from names and places (`setup.py`), is told with each probe. Where the standby's differs
from the primary's, that is an event and stands in `/v1/about`, and no operator can switch to it. A promotion goes on all the same:
with the primary down it is the last hope.

*Roles.* Where gateways have a key root, every request carries a key of a role and a generation, and `roles.py` says what each role
opens. The edge (of `small`: the controller) comes as `control`: it alone is listened to about leases and epochs. Journals know each
other by their seals, and who can reach an engine needs no key there.

*A damaged log.* A journal that begins with a log on disk verifies it before it takes part (see below). An entry that fails is
cut off with all that follows, into quarantine, and the log is *damaged* until a push of its primary has made it equal to the
primary's log to its end. That is on disk too: no restart forgets it. A damaged log may lack entries that count, so its journal
- takes pushes and nothing else: it answers no reads, appends nothing, pushes nothing, and refuses any epoch that would make it
  primary, whatever the edge believes;
- says so in its status. The edge never promotes a damaged standby, and replaces a damaged primary at once by a promotable
  standby: it need not be down, nor its lease be over, since it refuses everything by itself. It decides nothing else on the word
  of a damaged primary; in particular it does not take out a standby that this one does not push to.
If no one else is promotable, nothing is served: the cut may have taken turns that only this log held, and serving would hide
it. A person who gives them up starts the journal with `--accept-cut`; what was cut stays in quarantine. What cannot be noticed
alone: a log whose end is missing without a trace. Its primary sends a standby what it lacks; a lone primary's is gone.

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

Seals
-----
With `--seal-root SECRET` each entry carries the Ed25519 signature of the region that wrote it, of a key derived from the root and
the region's name (`GET /v1/journal/keys` tells the public ones). Who verifies an export holds it against keys that it knows from
elsewhere. A push is a *frame*: it carries a MAC of the root, the life of the receiver that it is for, and a number that only
grows. A frame that does not verify, that was there before, that holds an entry not signed by the region which the entry names, or
that is of a lower epoch changes nothing and is counted, by its reason (`store_refused_frames_total`, `frames` in the status); one
that was delivered late counts as there before, and its sender begins anew with what it is told. The answers to pushes are not
sealed, and regions are not told from each other: whoever has the root can be any. Without a root nothing of this is asked for.

Restoring
---------
A log on disk passes gates in this order, each timed, logged and told in the status: `keys` (it was begun with the key that we
have; with another nothing is cut, the journal stands there), `registry` (each record is what was hashed and signed), `ledger`
(each entry, and each follows the one before), `sessions` (every outcome has one earlier turn, no turn two), `traffic` (nothing
is damaged). Up to `traffic` nothing but the stage is answered (readyz: 503 `restoring`), so the region counts as down. A
database that cannot be read stands at its gate and is asked again, or ends the program at once: where it never can be, people take
the folder away, and the region comes back empty, as a standby.

Running again
-------------
A turn's entry holds its request, so that it can be run again: `POST /v1/chat/completions` with `x-dry-run` at any region's
gateway generates the answer and journals nothing. `GET /v1/journal/export` at a journal hands out its whole log, for
whoever wants to verify the chain.

Bills
-----
A turn's bill is the usage in its outcome, and so is there once for each turn that counts. A request to an engine names
its turn and the account that pays; the engine charges for every token that it generates, read or not, and tells (`GET
/v1/usage`). A gateway keeps how often it asked for each turn, and holds the three against each other (`GET
/v1/billing`). The engine's ledger and the gateway's list last as long as their processes; an account is a gateway's
process, so that none is held to another's list.

What reaches clients
--------------------
x-served-by, x-region, x-epoch, x-attempts, x-answer-sha, and x-degraded or x-cached where they apply. The last chunk
of a stream repeats them in `serving`, because a resumed stream ends elsewhere than its headers said. Each event's id is
the range `start:end` of its tokens. 400, 409, 422, 429 and 503 say that nothing happened; 502 and 504, and an error
event in a stream, that it cannot be known.
"""
