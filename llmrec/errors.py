"""Everything that a user's input can make go wrong, as one tree.

* `LlmrecError`: shown as one line on stderr, exit status 2
    * `ConfigError`: a setting, flag or recipe is wrong
    * `DataError`: a file's content is wrong; names file, row and way out
    * `StoreError`: a store is missing, foreign or of another version
    * `ModelError`: a model folder or hub name cannot be loaded
    * `MissingExtraError`: an optional package is not installed
    * `DiskError`: an artefact could not be written

Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "ConfigError",
    "DataError",
    "DiskError",
    "LlmrecError",
    "MissingExtraError",
    "ModelError",
    "StoreError",
    "nearest",
    "require",
]


class LlmrecError(Exception):
    """What the user gave cannot be used; the message is one line that names the way out."""


class ConfigError(LlmrecError):
    """A setting, flag or recipe is wrong."""


class DataError(LlmrecError):
    """A file's content is wrong."""


class StoreError(LlmrecError):
    """A store is missing, foreign or of another version."""


class ModelError(LlmrecError):
    """A model folder or hub name cannot be loaded."""


class MissingExtraError(LlmrecError):
    """An optional package is not installed."""


class DiskError(LlmrecError):
    """An artefact could not be written."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known name, else the list of what is known."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(options)}"


def require(module: str, extra: str) -> ModuleType:
    """Import ``module`` or say which extra brings it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(f"{module} is not installed; pip install 'llmrec[{extra}]'") from error
