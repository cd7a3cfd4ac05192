"""What a shopper does, and what the shop's answers mean. One `run` is one arrival; Blackstart paces them."""

from __future__ import annotations

from harness.load import HttpUser


class Shopper(HttpUser):
    """Puts one item into a cart of its own; afterwards every cart is read in every region."""

    model = "set"  # add and read of a set: what `durable` and `phantom` need to know

    async def run(self) -> None:
        item = self.unique()
        async with (
            self.op("add", key=self.session, value=item) as op,
            self.client.post(f"/carts/{self.session}", json={"item": item}) as reply,
        ):
            op.served_by = reply.headers.get("X-Instance")
            reply.raise_for_status()  # a 5xx on a write: nobody can tell whether the item was kept

    async def final(self) -> None:
        async with (
            self.op("read", key=self.session) as op,
            self.client.get(f"/carts/{self.session}") as reply,
        ):
            reply.raise_for_status()
            op.result = await reply.json()
