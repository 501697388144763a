"""Levels 0 to 2, each tested alone, and what guards the house: the import law and the user's types."""
