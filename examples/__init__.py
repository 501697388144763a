"""Complete services, each in a folder of its own: start one with `python -m examples.fastapi_shop`."""
