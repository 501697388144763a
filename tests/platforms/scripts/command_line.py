"""The command line, with the arguments of this script."""

from gameball_async.cli import main

main()
