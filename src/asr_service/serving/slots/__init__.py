"""Slots: their shared status, their supervision and their reload."""
