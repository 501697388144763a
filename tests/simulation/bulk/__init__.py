"""Bulk requests in the simulation: jobs, what their status says, and what the oracle says about both."""
