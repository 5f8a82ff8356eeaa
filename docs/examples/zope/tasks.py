"""The tasks of the example; site.zcml registers them."""

import time

from zope.interface import Interface
from zope.schema import Int, Text, TextLine

from lovely.remotetask import TaskError, current


class ILetter(Interface):
    """The input of the task "letter": the form asks for these fields."""

    to = TextLine(title="To", description="Who it is for")
    text = Text(title="Text")
    copies = Int(title="Copies", min=1, max=9, default=1, required=False)


def letter(service, jobid, input):
    """Write a letter."""
    copies = input.get("copies") or 1
    return [f"Dear {input['to']},\n\n{input['text']}"] * copies


def count_words(service, jobid, input):
    """Count the words of a text."""
    if not isinstance(input, str):
        raise TaskError("A text is needed.")
    return len(input.split())


def divide(service, jobid, input):
    """Divide; what can't be divided fails, with a traceback."""
    return input["a"] / input["b"]


def report(service, jobid, input):
    """Take some time, tell how far it is, and stop when asked to."""
    steps = int(input or 20)
    for step in range(steps):
        current().checkCancelled()
        current().progress(step / steps, f"page {step + 1} of {steps}")
        time.sleep(0.5)
    return f"{steps} pages"
