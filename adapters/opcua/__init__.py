"""OPC UA, by subscription. This file is the whole registration; see README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from adapters.opcua.plan import planned_requests
from gateway import config
from gateway.adapter import Adapter, Context, Forecast
from gateway.errors import PartMissingError

_PROFILES = Path(__file__).parent / "profiles"

PROTOCOLS: Sequence[config.Protocol] = (config.Protocol("opcua", OpcuaConnection, OpcuaMachine, _PROFILES),)


def build(context: Context) -> Adapter:
    """Make the adapter of one connection. Raises PartMissingError."""
    try:
        from adapters.opcua.adapter import OpcuaAdapter
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "asyncua":
            raise
        raise PartMissingError(
            f"connection '{context.name}' speaks OPC UA, and asyncua is not installed: "
            "pip install 'shopfloor-gateway[opcua]'"
        ) from exc
    return OpcuaAdapter(context)


def plan(context: Context) -> Forecast:
    """What would be asked for, without asking."""
    return Forecast(planned_requests(context))


def forget(context: Context, machine: str | None) -> Sequence[str]:  # noqa: ARG001
    """Nothing is learnt."""
    return ()
