"""The demo of relays: `python -m examples.demo_relay`, or `make demo-relay`."""

from .demo_relay import main

main()
