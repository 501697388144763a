"""A fuzzer of the journal's folder: whatever happens to its files, what was durable arrives or is reported."""
