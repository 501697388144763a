"""`python -m gameball_async` is the command `gameball-async`."""

from .cli import main

if __name__ == "__main__":
    main()
