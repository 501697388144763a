"""A function of a serverless platform."""
