"""What scripts/benchmark.py asks."""
