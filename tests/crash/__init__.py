"""Crashes: processes are killed and the power fails; what was acknowledged reaches Gameball all the same."""
