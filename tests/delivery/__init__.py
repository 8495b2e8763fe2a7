"""Faults of every kind between a case and the street brain: see `scripts/faults`."""
