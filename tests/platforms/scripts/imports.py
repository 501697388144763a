"""Imports every module of the package."""

import importlib
import pkgutil

import _gameball_async_pytest
import gameball_async

names = [
    module.name
    for module in pkgutil.walk_packages(gameball_async.__path__, "gameball_async.")
    if not module.name.endswith("__main__")
]
for name in names:
    importlib.import_module(name)
print(len(names), "modules and", _gameball_async_pytest.__name__)
