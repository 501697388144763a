"""What users rely on, written down: names and signatures, the command line, messages, and the journal's format."""
