"""The scaler process: watches the engines and orders capacity before it is needed. Without it, capacity stays as it is."""

from __future__ import annotations

import asyncio
import time

import aiohttp
from aiohttp import web

from harness.reference.channel import Wire
from harness.reference.metrics import Metrics
from harness.reference.program import flags, log, metrics_page, mutants_of, run_program
from harness.reference.scaling import Bounds, Lane, Order, Seen, orders

__all__ = ["main"]

_EVERY_S = 0.25
_ASK = aiohttp.ClientTimeout(total=0.5)


class _Scaler:
    def __init__(self, engines: dict[str, str], standby: str, bounds: Bounds, mutants: frozenset[str]) -> None:
        self.engines = engines
        self.standby = standby
        self.bounds = bounds
        self.mutants = mutants
        self.lanes = {name: Lane() for name in engines}
        self.metrics = Metrics()

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Look and order, for ever."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(_EVERY_S)
            seen = await asyncio.gather(*(self._look(session, url) for url in self.engines.values()))
            now = time.monotonic()
            for lane, one in zip(self.lanes.values(), seen, strict=True):
                lane.look(one, now - before, now)
            before = now
            for name, order in orders(self.lanes, self.standby, self.bounds, now, self.mutants).items():
                await self._order(session, name, order)

    async def _look(self, session: aiohttp.ClientSession, url: str) -> Seen | None:
        try:
            async with session.get(f"{url}/health", timeout=_ASK) as reply:
                told = await reply.json()
                return Seen(slots=int(told["slots"]), running=int(told["running"]), waiting=int(told["waiting"]))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError):
            return None

    async def _order(self, session: aiohttp.ClientSession, name: str, order: Order) -> None:
        self.metrics.count("scaler_orders_total", engine=name)
        query = f"slots={order.slots}&after_ms={round(order.after_s * 1e3)}"
        try:
            async with session.post(f"{self.engines[name]}/admin/resize?{query}", timeout=_ASK) as reply:
                log("scaled", engine=name, slots=order.slots, after_s=order.after_s, status=reply.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            log("not-scaled", engine=name, why=repr(exc))

    async def about(self, _request: web.Request) -> web.Response:
        """Each engine's capacity, ordered and had, and what was expected of it."""
        engines: Wire = {}
        for name, lane in self.lanes.items():
            seen = lane.seen
            engines[name] = {
                "slots": seen.slots if seen else None,
                "asked": lane.asked,
                "demand": seen.demand if seen else None,
                "forecast": round(lane.trend.ahead(self.bounds.provision_s + 1), 2),
                "flips": lane.flips,
            }
        return web.json_response({"engines": engines, "flips": sum(lane.flips for lane in self.lanes.values())})


def main(argv: list[str] | None = None) -> None:
    """Run the scaler until SIGTERM."""
    parser = flags("scaler")
    parser.add_argument("--engine", action="append", required=True, metavar="NAME=URL")
    parser.add_argument("--standby", default="", metavar="NAME", help="is kept as large as the largest")
    parser.add_argument("--floor", type=int, default=2)
    parser.add_argument("--ceiling", type=int, default=64)
    parser.add_argument("--provision-ms", type=float, default=4000, help="what is ordered arrives so much later")
    parser.add_argument(
        "--cool-ms", type=float, default=10_000, help="nothing called for as much for so long, before it is given back"
    )
    args = parser.parse_args(argv)
    engines = {name: url.rstrip("/") for name, _, url in (entry.partition("=") for entry in args.engine)}
    if not all(engines.values()):
        parser.error(f"--engine: expected NAME=URL, got {args.engine!r}")
    if args.standby and args.standby not in engines:
        parser.error(f"--standby: there is no engine {args.standby!r}; there are {', '.join(engines)}")
    bounds = Bounds(
        floor=args.floor, ceiling=args.ceiling, provision_s=args.provision_ms / 1e3, cool_s=args.cool_ms / 1e3
    )
    scaler = _Scaler(engines, args.standby, bounds, mutants_of(parser, args))
    run_program(lambda tasks, app: _build(tasks, app, scaler), args)


async def _build(tasks: asyncio.TaskGroup, app: web.Application, scaler: _Scaler) -> None:
    session = aiohttp.ClientSession()

    async def close(_app: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    app.router.add_get("/v1/about", scaler.about)
    app.router.add_get("/readyz", scaler.about)
    app.router.add_get("/metrics", metrics_page(scaler.metrics))
    tasks.create_task(scaler.run(session))


if __name__ == "__main__":
    main()
