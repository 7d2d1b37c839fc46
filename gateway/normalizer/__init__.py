"""From what a machine says to what it means: one compiled plan per header, working on columns."""

from gateway.normalizer.plan import Plan

__all__ = ["Plan"]
