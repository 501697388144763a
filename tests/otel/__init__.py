"""The OpenTelemetry integration before the real SDK, with its in-memory reader and exporter."""
