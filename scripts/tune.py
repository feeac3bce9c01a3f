"""The same program as `unetkit tune`."""

from unetkit.cli.tune import run

if __name__ == "__main__":
    run()
