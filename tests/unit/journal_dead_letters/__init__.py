"""The dead letters and a look into a journal, with real files and real second processes."""
