"""Where readings wait until the store has them: the contract, and what keeps it."""

from gateway.buffer.contract import Buffer, Record, Usage
from gateway.buffer.memory import MemoryBuffer

__all__ = ["Buffer", "MemoryBuffer", "Record", "Usage"]
