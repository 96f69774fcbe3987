"""How exactly time is kept."""

from __future__ import annotations

__all__ = ["INSTANT"]

INSTANT = 1e-6
"""Seconds. Timers fire a little early, so what is due within that is due."""
