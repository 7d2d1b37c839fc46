"""Where readings wait until the store has them: the contract, and the log on disk that keeps it."""

from gateway.buffer.contract import Buffer, Record, Usage
from gateway.buffer.disk import Disk
from gateway.buffer.recovery import known_time
from gateway.buffer.segment_log import Limits, SegmentLog

__all__ = ["Buffer", "Disk", "Limits", "Record", "SegmentLog", "Usage", "known_time"]
