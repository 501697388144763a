"""The command line, its parts and its processes."""
