"""Profile `jobs`: submits jobs to a queue over HTTP. Each that was accepted must have its effect, once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.load import HttpUser

__all__ = ["JobUser"]

Share = Annotated[float, Field(ge=0, le=1)]


class JobUser(HttpUser):
    """One arrival posts one job to `path`: the JSON text `body`, with its idempotency key in the header `idem_header`.

    What was accepted is compared with the effects that the stack file names under `signals.effects`, by that key. A share
    `poison` of the arrivals (0 to 1) posts `poison_body` instead: a job that fails whoever works on it; it is no job of the
    model. `session_header` carries the session; `served_by_header` names the response header that says who took it.
    """

    model = "jobs"

    path: str = "/jobs"
    body: str = "{}"
    poison: Share = 0.0
    poison_body: str = "{}"
    idem_header: str = "Idempotency-Key"
    session_header: str | None = None
    served_by_header: str | None = None

    async def run(self) -> None:
        value = self.unique()
        idem = f"{self.run_tag}-{value}"
        bad = self.random.random() < self.poison
        headers = {self.idem_header: idem, "content-type": "application/json"}
        if self.session_header is not None:
            headers[self.session_header] = self.session
        job = self.poison_body if bad else self.body
        async with (
            self.op("poison" if bad else "submit", key=self.session, value=value, idem=idem) as op,
            self.client.post(self.path, data=job, headers=headers) as reply,
        ):
            if self.served_by_header is not None:
                op.served_by = reply.headers.get(self.served_by_header)
            reply.raise_for_status()
