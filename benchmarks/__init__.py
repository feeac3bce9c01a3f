"""Measurements of unetkit and of other projects, run by `scripts/benchmark.py`. Nothing else imports this package."""
