"""The directive ``command-line``: all commands and their options, from the code."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from lovely.remotetask.cli.commands import main
from lovely.remotetask.cli.options import PlaceOption

#: What reads as markup in a text that is none.
SPECIAL = re.compile(r"([\\*`|])")
#: Options and commands that a text names.
LITERAL = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|'[a-z]+ [a-z-]+[^']*'|\[tool\.\w+\])")


def commands(
    group: click.Group, ctx: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """The commands of a group, those of groups in it too, by their full names."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None, name
        inner = click.Context(command, ctx, name)
        if isinstance(command, click.Group):
            yield from commands(command, inner)
        else:
            yield inner.command_path, command, inner


def as_rst(text: str) -> str:
    """A text of a help page as reStructuredText."""
    return LITERAL.sub(r"``\1``", SPECIAL.sub(r"\\\1", text))


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text, each on one line."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield as_rst(" ".join(paragraph.split()))
        yield ""


def options_of(command: click.Command, ctx: click.Context) -> Iterator[click.Option]:
    """The options of a command; ``--help`` is everybody's."""
    for param in command.get_params(ctx):
        if isinstance(param, click.Option) and "--help" not in param.opts:
            yield param


def option(param: click.Option, ctx: click.Context) -> Iterator[str]:
    """An option, and what is said of it."""
    record = param.get_help_record(ctx)
    assert record is not None, param.name
    names, text = record
    yield f".. option:: {names.replace(' / ', ', ')}"
    yield ""
    yield f"   {as_rst(text)}"
    yield ""


def usual_place(ctx: click.Context) -> dict[str, click.Option]:
    """The options of the place, as most commands take them."""
    command = main.get_command(ctx, "add")
    assert command is not None
    return {
        str(param.name): param
        for param in command.params
        if isinstance(param, PlaceOption)
    }


def page() -> Iterator[str]:
    """The sections of all commands."""
    ctx = click.Context(main, info_name="remotetask")
    place = usual_place(ctx)
    yield ".. program:: remotetask"
    yield ""
    for param in options_of(main, ctx):
        yield from option(param, ctx)
    for path, command, inner in commands(main, ctx):
        yield from (path, "-" * len(path), "", ".. program:: " + path, "")
        usage = " ".join(command.collect_usage_pieces(inner))
        yield from ("::", "", f"    {path} {usage}", "")
        yield from paragraphs(command.help or "")
        takes_place = False
        for param in options_of(command, inner):
            if isinstance(param, PlaceOption):
                takes_place = True
            if param.help != getattr(place.get(str(param.name)), "help", None):
                yield from option(param, inner)
        if takes_place:
            yield from ("It also takes the options of `The database`_.", "")
    yield from ("The database", "-" * 12, "", ".. program:: remotetask", "")
    yield "These options are taken by all commands that work on a service."
    yield ""
    for param in place.values():
        yield from option(param, ctx)


class CommandLine(SphinxDirective):
    """The sections of all commands."""

    def run(self) -> list[nodes.Node]:
        lines = list(page())
        source = self.get_source_info()[0]
        content = StringList(lines, source=source)
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(content, self.content_offset, node, match_titles=True)
        return list(node.children)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
