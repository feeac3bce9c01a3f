"""The same program as `unetkit doctor`."""

from unetkit.cli.doctor import run

if __name__ == "__main__":
    run()
