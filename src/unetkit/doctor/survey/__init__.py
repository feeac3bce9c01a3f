"""Reads each file once, and keeps what the checks need to know."""
