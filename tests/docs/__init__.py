"""What people read is true: its examples run, its tables agree with the code, its links lead somewhere."""
