"""The configuration of this gateway out of a git repository for the whole fleet: fetched, proven, checked, put into place.

    git ─▶ fetch ─▶ signature ─▶ age ─▶ files of this gateway ─▶ config check ─▶ rename ─▶ reload
             └──────────┴──────────┴────────────┴─────────────────────┴── anything wrong: what was there stays

One file for each step; only git.py runs a program.
"""

from gateway.fleet.errors import FleetError
from gateway.fleet.pull import Outcome, pull
from gateway.fleet.settings import FleetSettings, read_settings

__all__ = ["FleetError", "FleetSettings", "Outcome", "pull", "read_settings"]
