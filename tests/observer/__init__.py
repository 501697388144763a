"""What a client lets others see: its lines in the log, and what its observer is told."""
