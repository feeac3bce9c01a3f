"""Faults that are tried on unetkit, to see that nothing is lost, silently wrong or hanging: `scripts/torture.py`."""
