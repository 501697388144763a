"""Everything that runs: tasks, clocks and sockets."""
