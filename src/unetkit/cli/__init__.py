"""The commands of `unetkit`, one a file."""
