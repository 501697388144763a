"""A Celery worker that tracks paid orders."""
