"""`make demo-relay`: orders in PostgreSQL, delivered by two relays of which one is killed and one suspended."""
