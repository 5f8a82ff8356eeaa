"""What the repository looks like from outside."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP_LEVEL = {"src", "tests", "docs", "pyproject.toml", "README.rst", "LICENSE"}


def tracked_files() -> list[str]:
    """The files that git knows in this checkout."""
    env = {key: value for key, value in os.environ.items() if key[:4] != "GIT_"}
    git = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    try:
        run = subprocess.run(
            git, cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return [name for name in run.stdout.split("\0") if name]


def readme_commands() -> list[str]:
    """The lines of README.rst that set up an environment."""
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    return re.findall(r"^ +(python3 -m venv .*)$", text, re.MULTILINE)


def test_top_level_holds_what_belongs_there() -> None:
    """Nothing lies at the top level but what has its place there."""
    top = {name.partition("/")[0] for name in tracked_files()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_namespace_has_no_init() -> None:
    """``lovely`` is an implicit namespace package, which others may share."""
    assert not (ROOT / "src" / "lovely" / "__init__.py").exists()


def test_what_others_have_written_is_licensed() -> None:
    """The licence of what is shipped and not our own is named, and its text shipped."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    foreign = [name for name in tracked_files() if ".min." in name]
    assert foreign == ["src/lovely/remotetask/web/static/htmx.min.js"]
    (files,) = re.findall(r"^license-files = \[(.*)\]$", text, re.MULTILINE)
    names = re.findall(r'"(.*?)"', files)
    assert names == ["LICENSE", foreign[0].replace(".min.js", ".LICENSE.txt")]
    assert all((ROOT / name).is_file() for name in names)
    assert 'license = "ZPL-2.1 AND 0BSD"' in text


def test_readme_has_two_commands() -> None:
    """The README gives a command for the demonstration and one for the tests."""
    demo, tests = readme_commands()
    assert demo.endswith("remotetask demo")
    assert tests.endswith("python -m pytest")


def test_continuous_integration_uses_the_test_command() -> None:
    """Continuous integration sets up just as the README's test command does."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    script = script.replace('"$venv/bin/pip" install -q', '"$venv/bin/pip" install')
    script = re.sub(r'"?\$venv((?:/\w+)*)"?', r".venv\1", script)
    _, command = readme_commands()
    setup, _, tests = command.rpartition(" && ")
    assert setup in script.splitlines()
    assert any(line.startswith(tests) for line in script.splitlines())
