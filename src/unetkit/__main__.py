"""`python -m unetkit` is the command `unetkit`."""

from unetkit.cli.main import main

if __name__ == "__main__":
    main()
