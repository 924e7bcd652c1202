"""Which bounded contexts there are: every sub-package with a manifest of the packages in the settings."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType

from twofold_server.errors import StartupError
from twofold_server.messages.contract import ContextContract, read_contract
from twofold_server.modelling import Context

Found = tuple[Context, ContextContract]
"""A context's manifest and its contract."""


def discover(packages: Iterable[str]) -> list[Found]:
    """The manifests found, each with its contract; raises StartupError where there is none."""
    found = [
        (context, read_contract(context.package, context.upcasters))
        for package in packages
        for context in _manifests(package)
    ]
    names = [context.package for context, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise StartupError(f"two contexts claim the proto package {name}")
    return found


def _manifests(package: str) -> Iterator[Context]:
    folder = getattr(_imported(package), "__path__", ())  # a module that is no package has none
    names = [f"{package}.{m.name}" for m in pkgutil.iter_modules(folder) if m.ispkg]
    manifests = [m.context for m in map(_imported, names) if isinstance(getattr(m, "context", None), Context)]
    if not manifests:
        raise StartupError(f"{package} has no bounded context: no sub-package exports `context`")
    yield from manifests


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StartupError(f"cannot import {name}: {error}; check TWOFOLD_CONTEXTS and PYTHONPATH") from None
