"""The same program as `unetkit export`."""

from unetkit.cli.export import run

if __name__ == "__main__":
    run()
