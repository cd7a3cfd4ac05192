"""Probe `tcp`: does a connect succeed."""

from __future__ import annotations

import asyncio
import contextlib

from pydantic import field_validator

from harness.model.catalog import ProbeKind
from harness.model.fields import JsonObject, Params
from harness.model.ports import ProbeSample
from harness.model.wiring import Wiring

__all__ = ["KIND", "TcpParams", "TcpProbe"]


class TcpParams(Params):
    """Where to connect (`tcp`): "host:port"."""

    tcp: str

    @field_validator("tcp")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if "${" not in value and (not host or not port.isdigit()):
            raise ValueError(f"expected 'host:port', got {value!r}")
        return value


class TcpProbe:
    """Every sample is one connect; nothing is sent. A frozen process accepts, too: the kernel answers for it."""

    def __init__(
        self, params: TcpParams | JsonObject, wiring: Wiring, base_dir: str = ".", instance: str | None = None
    ) -> None:
        address = wiring.text(TcpParams.model_validate(params).tcp, instance=instance)
        host, _, self._port = address.rpartition(":")
        self._host = host.strip("[]")

    async def sample(self, timeout_ns: int) -> ProbeSample:
        try:
            async with asyncio.timeout(timeout_ns / 1e9):
                _, writer = await asyncio.open_connection(self._host, int(self._port))
        except TimeoutError:
            return ProbeSample(ok=False, error=f"{self._host}:{self._port}: no answer in {timeout_ns / 1e9:g} s")
        except OSError as exc:
            return ProbeSample(ok=False, error=f"{self._host}:{self._port}: {exc.strerror or exc}")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return ProbeSample(ok=True, value=1.0)


KIND = ProbeKind(
    name="tcp",
    doc="does a TCP connect succeed",
    params=TcpParams,
    code="harness.probe.tcp:TcpProbe",
    example='{tcp: "${addr:db-eu.pg}"}',
)
