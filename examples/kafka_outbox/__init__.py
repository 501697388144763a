"""A consumer that copies the events of a Kafka topic into the outbox, each once."""
