"""The consumer: `python -m examples.kafka_outbox`."""

from .consumer import main

main()
