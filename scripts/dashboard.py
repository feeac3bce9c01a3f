"""The same program as `unetkit dashboard`."""

from unetkit.cli.dashboard import run

if __name__ == "__main__":
    run()
