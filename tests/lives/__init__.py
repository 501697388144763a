"""Lives our users lead, each as a real process: accepted is held by Gameball or reported, in order per player."""
