"""The outbox on a real PostgreSQL server."""
