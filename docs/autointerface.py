"""The directive ``autointerface``: a zope.interface, documented from its source.

Sphinx's autodoc takes an interface for a value.  Here it becomes a class with
its attributes and methods, in the order in which they are written.

A reference in another module's docstring finds it by its name alone, as it finds
whatever else has one name in this library.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docstrings import prepare_docstring
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from zope.interface.interface import Attribute, Method


@functools.cache
def signatures(module: str) -> dict[tuple[str, str], str]:
    """The signatures of all methods of a module's interfaces.

    An interface forgets the arguments that are keyword-only, so read the source.
    """
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    return {
        (cls.name, method.name): f"({ast.unparse(method.args)})"
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        for method in cls.body
        if isinstance(method, ast.FunctionDef)
    }


def indented(lines: list[str]) -> list[str]:
    """The lines, further to the right."""
    return ["   " + line if line else "" for line in lines]


def member(module: str, interface: str, name: str, element: Attribute) -> list[str]:
    """The lines for a method or an attribute."""
    kind, signature = "attribute", ""
    if isinstance(element, Method):
        kind, signature = "method", signatures(module)[interface, name]
    doc = prepare_docstring(element.getDoc())
    return [f".. py:{kind}:: {name}{signature}", "", *indented(doc), ""]


def lines_of(module: str, name: str) -> list[str]:
    """The lines for an interface, with what it defines itself."""
    interface = getattr(importlib.import_module(module), name)
    body = prepare_docstring(interface.getDoc())
    bases = [base.__identifier__ for base in interface.__bases__]
    bases = [base for base in bases if not base.endswith(".Interface")]
    if bases:
        body += ["Extends " + ", ".join(f":py:obj:`~{base}`" for base in bases), ""]
    for attribute, element in interface.namesAndDescriptions():
        body += member(module, name, attribute, element)
    return [f".. py:class:: {name}", f"   :module: {module}", "", *indented(body)]


class AutoInterface(SphinxDirective):
    """``.. autointerface:: package.module.IName``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        dotted = self.arguments[0]
        module, _, name = dotted.rpartition(".")
        container = nodes.container()
        content = StringList(lines_of(module, name), source=dotted)
        self.state.nested_parse(content, 0, container)
        return container.children


def find_by_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Resolve ``Name`` and ``lovely.remotetask.Name``, if there is just one."""
    name = node.get("reftarget", "").removeprefix("lovely.remotetask.")
    if node.get("refdomain") != "py" or "." in name:
        return None
    python = env.get_domain("py")
    found = python.find_obj(env, "", "", name, "obj", searchmode=1)
    if len(found) != 1:
        return None
    _, entry = found[0]
    return make_refnode(
        app.builder, node["refdoc"], entry.docname, entry.node_id, content, name
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive, and the way to find what it documents."""
    app.add_directive("autointerface", AutoInterface)
    app.connect("missing-reference", find_by_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
