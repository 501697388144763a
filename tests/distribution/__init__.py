"""What is handed out: the sdist and the wheel, what is in them, and how they are where they are installed."""
