"""The simulation of the outbox: relays as processes of one world, a model of PostgreSQL, and applications."""
