"""Batches for the reference stack's queue. Model `jobs`: each that was accepted has its effect, once."""

from __future__ import annotations

from harness.load import HttpUser


class JobUser(HttpUser):
    """One arrival submits one job; a share of `poison` fails whoever works on it, and is no job of the model."""

    model = "jobs"

    poison: float = 0.05

    async def run(self) -> None:
        value = self.unique()
        idem = f"{self.run_tag}-{value}"
        bad = self.random.random() < self.poison
        headers = {"Idempotency-Key": idem, "x-session": self.session}
        async with (
            self.op("poison" if bad else "submit", key=self.session, value=value, idem=idem) as op,
            self.client.post("/v1/batches", json={"work": "poison" if bad else "add"}, headers=headers) as reply,
        ):
            op.served_by = reply.headers.get("x-served-by")
            reply.raise_for_status()
