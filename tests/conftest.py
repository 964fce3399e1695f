"""Shared by all suites. Kept almost empty on purpose: a suite's fixtures live beside it."""

from __future__ import annotations
