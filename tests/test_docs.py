"""The documentation: its examples run, and what it says of the code is so."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from zope.interface.interface import Method

from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.states import COMPLETED, QUEUED, STATUSES, TRANSITIONS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "lovely" / "remotetask"
ARCHITECTURE = DOCS / "explanation" / "architecture.rst"
FAILURE = DOCS / "explanation" / "failure.rst"

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

#: A reference to a test, as ``tests/FILE.py::NAME`` or ``tests/FILE.py``.
REFERENCE = re.compile(r"``tests/(?P<file>[\w/]+\.py)(::(?P<name>[\w:]+))?``")

#: How a block of Python begins, in the texts.
PYTHON = re.compile(r"(def|import|class|from) ")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def texts() -> list[Path]:
    """All texts for readers."""
    return [ROOT / "README.rst", *sorted(DOCS.rglob("*.rst"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "path", [path for path in texts() if ">>> " in text_of(path)], ids=name_of
)
def test_examples_run(path: Path) -> None:
    """The examples of a page run, from top to bottom, and give what it says."""
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest(
        text_of(path), {"__name__": "__main__"}, path.name, str(path), 0
    )
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("path", texts(), ids=name_of)
def test_headings_are_underlined(path: Path) -> None:
    """Each line that stands for a heading is as long as that; else it is no heading."""
    lines = text_of(path).splitlines()
    short = [
        above
        for above, line in pairwise(lines)
        if re.fullmatch(r"([=~-])\1\1+", line) and 0 < len(above) != len(line)
    ]
    assert short == []


def readme_example() -> str:
    """The example of README.rst, as it is pasted."""
    found = re.search(r"prompt::\n\n((?:    .*\n|\n)+)", text_of(ROOT / "README.rst"))
    assert found is not None
    return textwrap.dedent(found[1])


@pytest.mark.parametrize("options", [[], ["-i", "-q"]], ids=["a file", "the prompt"])
def test_readme_example_works_as_pasted(options: list[str], tmp_path: Path) -> None:
    """README's example works in a file, and typed at Python's prompt."""
    script = tmp_path / "example.py"
    script.write_text(readme_example(), encoding="utf-8")
    command = [sys.executable, *options, *([] if options else [str(script)])]
    run = subprocess.run(
        command,
        input=readme_example(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = "``" + run.stdout.strip() + "``"
    assert "Error" not in run.stderr
    assert f"It prints {said}." in text_of(ROOT / "README.rst")


def names_in(tree: ast.AST) -> Iterator[str]:
    """The functions and classes of a test module, methods as ``Class::method``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
            yield from (f"{node.name}::{name}" for name in names_in(node))
        elif isinstance(node, ast.Assign):
            yield from (ast.unparse(target) for target in node.targets)


def references() -> list[tuple[str, str | None]]:
    """The tests that the texts name: a file and maybe a name in it."""
    found = [m for path in texts() for m in REFERENCE.finditer(text_of(path))]
    return sorted({(m["file"], m["name"] or "") for m in found})


@pytest.mark.parametrize(("file", "name"), references())
def test_tests_that_are_named_exist(file: str, name: str) -> None:
    """Every test that the documentation refers to is there."""
    path = ROOT / "tests" / file
    assert path.is_file()
    assert not name or name in set(names_in(ast.parse(text_of(path))))


def test_invariants_name_their_tests() -> None:
    """Each invariant of the architecture page names a test that proves it."""
    _, _, section = text_of(ARCHITECTURE).partition("\nInvariants\n")
    section, _, _ = section.partition("\nWhere to change what\n")
    found = re.findall(r"^(\S.*\.)\n((?:    .*\n)*)", section, re.MULTILINE)
    invariants = [entry for entry in found if not entry[0].startswith("What always")]
    assert len(invariants) >= 7
    assert [what for what, tests in invariants if not REFERENCE.search(tests)] == []


def test_failures_name_their_tests() -> None:
    """Each line on what can fail names the very tests that show what then happens."""
    lines = re.findall(
        r"^(\S.*)\n((?:    .*\n|\n(?=    ))+)", text_of(FAILURE), re.MULTILINE
    )
    assert len(lines) >= 25
    found = {what: list(REFERENCE.finditer(then)) for what, then in lines}
    assert [what for what, named in found.items() if not named] == []
    loose = [m[0] for named in found.values() for m in named if m["name"] is None]
    assert loose == []


def test_all_attributes_of_a_service_are_listed() -> None:
    """The reference has a line for each attribute of a service."""
    _, _, section = text_of(DOCS / "reference" / "services.rst").partition("Attributes")
    section, _, _ = section.partition("\nRetention\n")
    members = ITaskService.namesAndDescriptions()
    names = {name for name, member in members if not isinstance(member, Method)}
    listed = re.findall(r"^   \* - (``.*``)$", section, re.MULTILINE)
    assert {n for line in listed for n in re.findall(r"``(\w+)``", line)} >= names


def test_map_has_every_module() -> None:
    """The map of the code has a line for each module, and for none that is gone."""
    _, _, section = text_of(ARCHITECTURE).partition("\nThe map of the code\n")
    section, _, _ = section.partition("\nThe life of a job\n")
    listed = re.findall(r"^   \* - ``(\w+)(?:\.py)?``$", section, re.MULTILINE)
    paths = [*SOURCE.glob("*.py"), *SOURCE.glob("*/__init__.py")]
    existing = {p.stem if p.parent == SOURCE else p.parent.name for p in paths}
    assert sorted(listed) == sorted(existing)


def python_blocks(path: Path) -> list[str]:
    """What a text shows as Python without a prompt."""
    blocks = re.findall(r"::\n\n((?:    +.*\n|\n)+)", text_of(path))
    return [block for block in map(textwrap.dedent, blocks) if PYTHON.match(block)]


@pytest.mark.parametrize("path", [p for p in texts() if python_blocks(p)], ids=name_of)
def test_python_without_a_prompt_compiles(path: Path) -> None:
    """What can't be run here, for want of a library, is valid Python at least."""
    for block in python_blocks(path):
        compile(block, str(path), "exec")


@pytest.fixture
def lifecycle() -> Any:
    """The extension of Sphinx that draws a job's life."""
    spec = importlib.util.spec_from_file_location("lifecycle", DOCS / "lifecycle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_diagram_shows_the_transition_table(lifecycle: Any) -> None:
    """The drawing has each status and an arrow for each transition."""
    drawing = lifecycle.drawing()
    assert re.findall(r">([\w ]+)</text>", drawing) == list(STATUSES)
    assert drawing.count("<polyline") == sum(map(len, TRANSITIONS.values()))


def test_new_transitions_want_a_reason(lifecycle: Any) -> None:
    """A transition that nobody has explained stops the build."""
    lifecycle.TRANSITIONS = TRANSITIONS | {COMPLETED: frozenset({QUEUED})}
    with pytest.raises(ValueError, match="completed"):
        lifecycle.table()
