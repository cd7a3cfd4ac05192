"""slow-first-byte: answers on the link begin late, and then come at their own pace."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import field_validator

from harness.faults.http_link import HttpFault, HttpParams
from harness.faults.link import at_least_a_millisecond
from harness.model.catalog import FaultKind
from harness.model.fields import Duration

__all__ = ["KIND", "SlowFirstByte", "SlowFirstByteParams"]


class SlowFirstByteParams(HttpParams):
    """`delay` between the answer's arrival and its first byte at the client; `ratio` of the requests."""

    delay: Duration

    _in_its_unit = field_validator("delay")(at_least_a_millisecond)


class SlowFirstByte(HttpFault):
    """A `slow_first_byte` toxic."""

    kind = "slow-first-byte"
    params: SlowFirstByteParams

    def __init__(self, params: SlowFirstByteParams) -> None:
        self.params = params

    def toxic(self) -> tuple[str, Mapping[str, int | float]]:
        return "slow_first_byte", {"delay": self.params.delay // 1_000_000}


KIND = FaultKind(
    name="slow-first-byte",
    doc="a provider that queues: answers begin late",
    params=SlowFirstByteParams,
    code="harness.faults.slow_first_byte:SlowFirstByte",
    example="{fault: slow-first-byte, delay: 1500ms, ratio: 50%, on: {link: llm}}",
    targets=frozenset({"link"}),
    http=True,
    what="hold the first byte of {ratio} of the answers on {target} for {delay}",
    clients_see="requests arrive in time; a hit answer begins late, what came of it meanwhile follows at once",
    on_revert="the toxic is removed; answers that are held begin at once",
    witness="the share of requests whose answer was held",
)
