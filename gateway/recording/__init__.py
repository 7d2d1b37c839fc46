"""What a machine said on the wire, kept in a file: written by `gateway record`, played back by `gateway replay`."""

from gateway.recording.entry import Entry, Head, Kind
from gateway.recording.file import Recorder, Recording, is_recording, read

__all__ = ["Entry", "Head", "Kind", "Recorder", "Recording", "is_recording", "read"]
