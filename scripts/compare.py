"""The same program as `unetkit compare`."""

from unetkit.cli.compare import run

if __name__ == "__main__":
    run()
