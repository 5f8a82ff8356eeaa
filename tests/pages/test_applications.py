"""What docs/how-to/zope-pages.rst tells applications to write, as it stands there."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import transaction
from zope.component.globalregistry import base
from zope.configuration import xmlconfig
from zope.publisher.interfaces.browser import IDefaultBrowserLayer

import lovely.remotetask.browser
from tests.pages.conftest import PATH, Application
from tests.programs import ROOT
from tests.support import register

PAGE = ROOT / "docs" / "how-to" / "zope-pages.rst"

ZCML = """
<configure xmlns="http://namespaces.zope.org/zope"
    xmlns:browser="http://namespaces.zope.org/browser">
  <include package="zope.component" file="meta.zcml" />
  <include package="zope.browserpage" file="meta.zcml" />
  <interface interface="news.interfaces.IOurLayer" name="Ours"
      type="zope.publisher.interfaces.browser.IBrowserSkinType" />
  {}
</configure>
"""


def blocks(language: str) -> str:
    """The blocks of code of a language, one after the other."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(rf"code-block:: {language}\n\n((?: +.*\n|\n)+)", text)
    assert len(found) == 2
    return "\n".join(map(textwrap.dedent, found))


@pytest.fixture
def news(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Application]:
    """The application, with a package ``news`` that has what the page tells."""
    frame = Path(lovely.remotetask.browser.__file__).with_name("frame.pt")
    text = frame.read_text(encoding="utf-8").replace("<body>", '<body class="news">')
    (tmp_path / "ourframe.pt").write_text(text, encoding="utf-8")
    views, interfaces = ModuleType("news.views"), ModuleType("news.interfaces")
    vars(interfaces)["IOurLayer"] = type(IDefaultBrowserLayer)(
        "IOurLayer", (IDefaultBrowserLayer,), {}
    )
    views.__file__ = str(tmp_path / "views.py")
    # A template's folder is that of the module which names it.
    exec(compile(blocks("python"), views.__file__, "exec"), vars(views))
    for module in (ModuleType("news"), views, interfaces):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    before = {*base._adapter_registrations}
    xmlconfig.string(ZCML.format(blocks("xml").replace('=".', '="news.')))
    yield app
    for needed, provided, name in {*base._adapter_registrations} - before:
        base.unregisterAdapter(None, needed, provided, name)


def test_a_view_of_a_task(news: Application) -> None:
    """Jobs of the task are shown by its view, to those who may see it."""
    register("word count", len)
    news.add("word count", "<b> " * 50)
    news.add("echo", "something else")
    shown = "&lt;b&gt; " * 12 + "&lt;b"
    for page in ("jobs.html", "1", "1/word count_detail"):
        assert f"<em>{shown}</em>" in news.get(page, "viewer").text.replace("  ", " ")
    news.get("1/word count_detail", "stranger", status=403)
    assert "&#x27;something else&#x27;" in news.get("jobs.html").text


def test_another_look(news: Application) -> None:
    """All pages have the frame of the application's layer, there and only there."""
    news.service.addCronJob("echo", hour=3)
    transaction.commit()
    client = news.client()
    for page in ("jobs.html", "1", "addcronjob.html", "1/editjob"):
        assert client.get(f"{PATH}/{page}").html.find("body", class_="news") is None
        shown = client.get(f"/++skin++Ours{PATH}/{page}")
        assert shown.html.find("body", class_="news") is not None
    answer = client.post(f"/++skin++Ours{PATH}/jobs.html", {}, status=403)
    assert answer.html.find("body", class_="news") is not None
