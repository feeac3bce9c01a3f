"""Measurements against other projects; run by `scripts/benchmark.py`, imported by nothing else."""
