"""Integrations with web frameworks and OpenTelemetry, one module each."""
