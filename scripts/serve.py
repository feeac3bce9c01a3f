"""The same program as `unetkit serve`."""

from unetkit.cli.serve import run

if __name__ == "__main__":
    run()
