"""A throw-away certificate authority: the one of the simulated devices."""

from simulators.modbus.authority import Authority

__all__ = ["Authority"]
