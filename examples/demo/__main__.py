"""The demo: `python -m examples.demo`, or `make demo`."""

from .demo import main

main()
