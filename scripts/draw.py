"""The same program as `unetkit draw`."""

from unetkit.cli.draw import run

if __name__ == "__main__":
    run()
