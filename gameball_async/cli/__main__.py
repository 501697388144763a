"""`python -m gameball_async.cli` is the command `gameball-async`."""

from . import main

if __name__ == "__main__":
    main()
