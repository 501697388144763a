"""The deterministic simulation: one seed decides everything, time is virtual, an oracle looks at every step."""
