"""What operators practise: the role goes from one region to the other although both are well, and back. Nothing is lost by it."""

from __future__ import annotations

import json
import time

from aiohttp import web

from harness.reference.arbiter import Arbiter
from harness.reference.program import failure

__all__ = ["switched"]


async def switched(arbiter: Arbiter, request: web.Request) -> web.Response:
    """The answer to `{"region": NAME}`: 200 once that region serves, at once when it does already; 409 with the reason, 400 for
    what makes no sense."""
    try:
        name = (await request.json())["region"]
        if name not in arbiter.regions:
            raise ValueError(f"expected one of {', '.join(arbiter.regions)}, got {name!r}")
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        return failure(400, "bad_request", f"region: {exc}")
    began = time.monotonic()
    refusal = await arbiter.switch(name)
    if refusal is not None:
        return failure(409, "not_switched", refusal)
    return web.json_response({"primary": name, "epoch": arbiter.epoch, "ms": round((time.monotonic() - began) * 1e3)})
