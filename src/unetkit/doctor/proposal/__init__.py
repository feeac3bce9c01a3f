"""Proposes a configuration that fits the files and the machine."""
