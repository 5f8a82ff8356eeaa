"""Making the application's tasks known to this process."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from lovely.remotetask.cli.problems import DEBUG, Problem
from lovely.remotetask.cli.text import first_line
from lovely.remotetask.errors import NotInstalled


def prepare_path() -> None:
    """Let the application's modules be found from where the command is called.

    As with ``python -m``; a script's own directory, which Python looks in, has none.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def register_tasks(db: Any, setup: Sequence[str], zcml: str | None) -> None:
    """Call what the application registers its tasks with.  Raise Problem."""
    if zcml:
        _load_zcml(zcml)
    for name in setup:
        _call(name, db)


def _call(name: str, db: Any) -> None:
    """Import ``package.module``, and call the ``function`` in it that is named."""
    module_name, _, function_name = name.partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise Problem(
            f"--setup: {module_name!r} can't be imported: {error}. Modules are found "
            "in the current directory, and where Python looks."
        ) from error
    except Exception as error:
        raise Problem(_failed(name, error)) from error
    if not function_name:
        return
    function = getattr(module, function_name, None)
    if not callable(function):
        raise Problem(f"--setup: {module_name!r} has no function {function_name!r}.")
    try:
        function(db) if _takes_one(function) else function()
    except Exception as error:
        raise Problem(_failed(name, error)) from error


def _takes_one(function: Any) -> bool:
    """Whether a function has to be called with an argument, or can be."""
    with suppress(TypeError, ValueError):
        signature = inspect.signature(function)
        with suppress(TypeError):
            signature.bind(None)
            return True
    return False


def _failed(name: str, error: Exception) -> str:
    line = first_line(str(error)).rstrip(".")
    return f"--setup {name} failed: {type(error).__name__}: {line}. {DEBUG}"


def _load_zcml(path: str) -> None:
    try:
        from zope.configuration import xmlconfig
        from zope.configuration.exceptions import ConfigurationError
    except ModuleNotFoundError as error:
        raise NotInstalled("--zcml", "zope") from error
    from zope.component.hooks import setHooks

    setHooks()
    try:
        xmlconfig.file(Path(path).name, context=_context(path))
    except (ConfigurationError, OSError, ImportError) as error:
        line = " ".join(str(error).split())
        raise Problem(f"--zcml {path}: {line}") from error


def _context(path: str) -> Any:
    """What ZCML is read in: includes are relative to the file's directory."""
    from zope.configuration import xmlconfig
    from zope.configuration.config import ConfigurationMachine

    context = ConfigurationMachine()
    xmlconfig.registerCommonDirectives(context)
    context.basepath = str(Path(path).absolute().parent)
    return context
