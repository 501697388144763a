"""Real orders of a gift shop through a sandbox in which much goes wrong."""
