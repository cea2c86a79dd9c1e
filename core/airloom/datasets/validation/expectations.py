"""Great Expectations, imported without what only a few of its expectations need: the import is most of a commit."""

import sys
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any

DEFERRED = "scipy.stats"  # a third of its import; the tests of distributions ask for it
_lock = Lock()


class _Deferred(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:  # somebody else wants it while Great Expectations is imported
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def great_expectations() -> ModuleType:
    """The package; whoever else imports scipy.stats gets the real one, now and later."""
    with _lock:
        if DEFERRED in sys.modules or "great_expectations" in sys.modules:
            return import_module("great_expectations")
        package, _, name = DEFERRED.rpartition(".")
        parent, stands = import_module(package), _Deferred(DEFERRED)
        sys.modules[DEFERRED] = stands
        parent.__dict__[name] = stands  # where `from scipy import stats` looks first
        try:
            return import_module("great_expectations")
        finally:
            if sys.modules.get(DEFERRED) is stands:
                del sys.modules[DEFERRED]
            if parent.__dict__.get(name) is stands:
                del parent.__dict__[name]
