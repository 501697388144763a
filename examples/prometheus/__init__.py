"""A client whose counts Prometheus scrapes."""
