"""The same program as `unetkit predict`."""

from unetkit.cli.predict import run

if __name__ == "__main__":
    run()
