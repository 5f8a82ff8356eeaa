"""How Sphinx builds the documentation."""

import builtins
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent))

project = "lovely.remotetask"
author = "The authors of lovely.remotetask"
release = version_of(project)
version = release

# No intersphinx: the build needs no network.
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "autointerface",
    "commandline",
    "lifecycle",
]
# The examples are programs, with texts of their own.
exclude_patterns = ["_build", "examples"]

html_theme = "furo"
html_show_copyright = False
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["pages.css"]

# `Name` in docstrings is a reference.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
python_use_unqualified_type_names = True


nitpicky = True
nitpick_ignore_regex = [
    # Other projects: their pages can't be linked without a network.
    (r"py:.*", r"(BTrees|ZODB|persistent|prometheus_client|transaction|zope)(\..*)?"),
    (r"py:.*", r"(collections|contextlib|datetime|logging|os|typing|zoneinfo)\..*"),
    # A name for types, which is said in words; and one that is another project's.
    (r"py:class", "Numbers|datetime"),
    # Built-in types and exceptions, for the same reason.
    (r"py:.*", "|".join(dir(builtins))),
]


def _check_field(app, what, name, obj, options, lines):  # noqa: PLR0917 - Sphinx's
    """A field of a tuple without a comment would be told in words of Python's."""
    if lines and lines[0].startswith("Alias for field number"):
        logging.getLogger(__name__).warning("%s: no comment says what it is", name)


def setup(app):
    app.connect("autodoc-process-docstring", _check_field)
