"""The layer rule: imports point downward only, and the core needs little."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "lovely.remotetask"
SOURCE = Path(__file__).parents[1] / "src" / "lovely" / "remotetask"

#: From the lowest layer to the highest.  A module imports from lower layers only.
#: Names for type checkers alone (``if TYPE_CHECKING:``) are free.
LAYERS = [
    ["errors", "plugins"],
    ["signals", "elsewhere", "schemas"],
    [
        "states",
        "environment",
        "times",
        "pickling",
        "values",
        "sites",
        "wakeup",
        "outages",
        "forks",
    ],
    [
        "interfaces",
        "own",
        "current",
        "retry",
        "retention",
        "zones",
        "pattern",
        "people",
    ],
    ["additions", "events", "history", "logs", "schedule"],
    ["calendars"],
    ["planning", "wording"],
    ["attempts", "plan", "versions"],
    ["ancestor"],
    ["basejob"],
    ["task", "job"],
    ["blocks"],
    ["table"],
    ["failed"],
    ["lanes"],
    ["writers"],
    ["producers"],
    ["queue"],
    ["endings", "queueview", "timetable"],
    ["claims"],
    ["workers"],
    ["execution", "health", "listing", "pruning", "checks"],
    ["rescue"],
    ["runs", "pace", "callers", "repairs"],
    ["groups", "hand"],
    ["session"],
    ["crew", "upkeep"],
    ["processor", "processing"],
    ["cronjobs"],
    ["service"],
    ["conversion"],
    ["evolve"],
    ["__init__"],
]

#: Above the core, which never imports them; nor do they import each other, but for
#: the command.  Each with what it may import besides what the core may.
EXTRAS: dict[str, set[str]] = {
    "annotations": {"zope.annotation"},
    "testing": set(),
    "xmlrpc": {"zope.publisher", "zope.security"},
    "browser": {
        "zope.browserpage",
        "zope.formlib",
        "zope.location",
        "zope.publisher",
        "zope.schema",
        "zope.security",
        "zope.traversing",
    },
    "cli": {"click", "rich", "tomli", "waitress", "ZConfig", "zodburi"}
    | {"relstorage", "zope.configuration"},
    "cron": {"cronsim"},
    "generations": {"zope.generations"},
    "metrics": {"prometheus_client"},
    "postgresql": set(),
    "principals": {"zope.authentication", "zope.publisher", "zope.security"},
    "startup": {"zope.app.appsetup"},
    "tracing": {"opentelemetry"},
    "web": {"bcrypt", "jinja2", "markupsafe", "pyramid", "waitress"},
    "zcml": {"zope.configuration", "zope.schema"},
}

#: The core's dependencies; zope.event is zope.component's own.
DEPENDENCIES = {
    "BTrees",
    "ZODB",
    "persistent",
    "transaction",
    "zope.component",
    "zope.event",
    "zope.interface",
}

LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
LEVELS |= dict.fromkeys(EXTRAS, len(LAYERS))
#: The command starts the others.
LEVELS["cli"] += 1


def is_for_type_checkers(node: ast.AST) -> bool:
    """Whether a statement is an ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and is_for_type_checkers(node):
            for statement in node.orelse:
                yield from imports_of(ast.Module([statement], []))
        else:
            yield from imports_of(node)


def module_of(name: str) -> str | None:
    """The module of this package that an imported name is or is in, or None."""
    if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
        return None
    first = name[len(PACKAGE) + 1 :].partition(".")[0]
    exists = (SOURCE / f"{first}.py").exists() or (SOURCE / first).is_dir()
    return first if first in LEVELS or (first and exists) else "__init__"


def is_upward(importer: str, name: str) -> bool:
    """Whether a module that imports this name breaks the layer rule."""
    imported = module_of(name)
    if imported is None or imported == importer:
        return False
    if not {importer, imported} <= LEVELS.keys():
        return False  # test_every_module_has_a_layer says so
    return LEVELS[imported] >= LEVELS[importer]


def is_foreign(importer: str, name: str) -> bool:
    """Whether a name is of a library that this module may not import."""
    if name.partition(".")[0] in sys.stdlib_module_names or module_of(name):
        return False
    allowed = DEPENDENCIES | EXTRAS.get(importer, set())
    return not any(f"{name}.".startswith(f"{library}.") for library in allowed)


def modules() -> list[tuple[str, Path]]:
    """The modules of the package: those of a subpackage go by its name."""
    return [
        (path.relative_to(SOURCE).parts[0].removesuffix(".py"), path)
        for path in sorted(SOURCE.rglob("*.py"))
    ]


each_module = pytest.mark.parametrize(
    ("module", "path"),
    [pytest.param(*m, id=str(m[1].relative_to(SOURCE))) for m in modules()],
)


@each_module
def test_every_module_has_a_layer(module: str, path: Path) -> None:
    """Every module of the package has its place in the table of layers."""
    assert module in LEVELS


@each_module
def test_imports_point_downward(module: str, path: Path) -> None:
    """A module imports only modules of lower layers."""
    names = imports_of(ast.parse(path.read_text(encoding="utf-8")))
    assert [name for name in names if is_upward(module, name)] == []


@each_module
def test_core_imports_its_dependencies_alone(module: str, path: Path) -> None:
    """A module imports nothing but the core's dependencies and its extra's."""
    names = imports_of(ast.parse(path.read_text(encoding="utf-8")))
    assert [name for name in names if is_foreign(module, name)] == []


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("job", "from lovely.remotetask.service import TaskService"),
        ("job", "from lovely.remotetask import errors, service"),
        ("job", "import lovely.remotetask.task"),
        ("job", "def f():\n    from lovely.remotetask import queue"),
        ("service", "from lovely import remotetask"),
        ("service", "from lovely.remotetask import TaskService"),
        ("service", "import lovely.remotetask.testing"),
        ("testing", "from lovely.remotetask.cli import main"),
    ],
)
def test_upward_imports_are_found(importer: str, source: str) -> None:
    """An import from the same or a higher layer breaks the rule."""
    assert any(is_upward(importer, name) for name in imports_of(ast.parse(source)))


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("job", "import ZEO"),
        ("job", "from zope import location"),
        ("job", "import zope.interfaces"),
        ("service", "try:\n    import click\nexcept ImportError:\n    pass"),
        ("testing", "import pytest"),
        ("cli", "import requests"),
    ],
)
def test_foreign_imports_are_found(importer: str, source: str) -> None:
    """An import of another library breaks the rule, even if it may fail."""
    assert any(is_foreign(importer, name) for name in imports_of(ast.parse(source)))


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("job", "import os.path\nfrom collections import abc"),
        ("job", "from lovely.remotetask import errors, states"),
        ("job", "from zope import interface\nimport zope.component.hooks"),
        ("job", "if TYPE_CHECKING:\n    from lovely.remotetask import service"),
        ("cli", "import click\nfrom lovely.remotetask.cli.demo import demo"),
        ("cli", "from lovely.remotetask import TaskService"),
    ],
)
def test_what_is_allowed_passes(importer: str, source: str) -> None:
    """Lower layers, the standard library and the dependencies may be imported."""
    names = list(imports_of(ast.parse(source)))
    assert not any(is_upward(importer, n) or is_foreign(importer, n) for n in names)


def canonical(name: str) -> str:
    """The name of a distribution as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed_by(name: str, found: set[str]) -> set[str]:
    """The distributions that one needs, itself included, without extras."""
    if name not in found:
        found.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            return found  # needed on other systems only
        for requirement in requirements:
            match = re.match(r"[\w.-]+", requirement)
            if match and "extra ==" not in requirement:
                needed_by(canonical(match.group()), found)
    return found


def top_names(distribution: importlib.metadata.Distribution) -> set[str]:
    """The outermost modules and packages, not namespaces, of a distribution."""
    parts = [file.parts for file in distribution.files or ()]
    packages = {p[:-1] for p in parts if len(p) > 1 and p[-1] == "__init__.py"}
    outer = {
        package
        for package in packages
        if not any(package[:n] in packages for n in range(1, len(package)))
    }
    single = {p[0].partition(".")[0] for p in parts if len(p) == 1}
    return {".".join(package) for package in outer} | single


def foreign_names() -> list[str]:
    """What is installed here and not needed by the core."""
    core: set[str] = set()
    for dependency in DEPENDENCIES:
        needed_by(canonical(dependency), core)
    foreign, own = set(), {PACKAGE}
    for distribution in importlib.metadata.distributions():
        of_core = canonical(distribution.metadata["Name"]) in core
        (own if of_core else foreign).update(top_names(distribution))
    return sorted(foreign - own)


IMPORT_WITHOUT = """
import json, sys

refused = set(json.load(sys.stdin))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in refused:
            raise ModuleNotFoundError(f"refused: {name}", name=name)

sys.meta_path.insert(0, Refuse())
import lovely.remotetask
print(json.dumps(sorted(sys.modules)))
"""


def test_core_works_without_the_extras() -> None:
    """The package can be imported where only the core's dependencies are."""
    refused = foreign_names()
    assert "pytest" in refused
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT],
        input=json.dumps(refused),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert PACKAGE in json.loads(run.stdout)
