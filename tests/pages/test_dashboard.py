"""The dashboard in front of a Zope application, as the documentation has it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from zope.site.folder import rootFolder
from zope.site.site import LocalSiteManager

from lovely.remotetask import TaskService
from tests.programs import PATIENCE, ROOT
from tests.web.support import password_file

PAGE = ROOT / "docs" / "how-to" / "dashboard.rst"

CONFIGURATION = """
site-definition {zcml}
<zodb>
  <filestorage>
    path Data.fs
  </filestorage>
</zodb>
<eventlog>
  <logfile>
    path STDERR
  </logfile>
</eventlog>
"""

#: Asks what the page has made, and tells what it answered.
ASK = """
import json
from webob import Request

def ask(path, **headers):
    response = Request.blank(path, headers=headers).get_response(application)
    return response.status_code, response.text

known = "Basic ZXZhOndvcmQ="
print(json.dumps([
    ask("/queue/jobs"), ask("/queue/jobs", Authorization=known), ask("/nowhere"),
    ask("/queueing"),
]))
"""


def example() -> str:
    """The code of the page."""
    text = PAGE.read_text(encoding="utf-8")
    (found,) = re.findall(
        r"``mount`` is one application[^\n]*::\n\n((?: {4}[^\n]*\n|\n)+)", text
    )
    return textwrap.dedent(found)


def test_in_front_of_zope(tmp_path: Path) -> None:
    """Zope answers as before; below the path is the dashboard, for who may see it."""
    db = ZODB.DB(FileStorage(str(tmp_path / "Data.fs")))
    root = db.open().root()["Application"] = rootFolder()
    root.setSiteManager(LocalSiteManager(root))
    root["tasks"] = TaskService()
    transaction.commit()
    db.close()
    password_file(tmp_path / "passwords", eva="word")
    zcml = Path(__file__).with_name("site.zcml")
    (tmp_path / "zope.conf").write_text(CONFIGURATION.format(zcml=zcml))
    run = subprocess.run(
        [sys.executable, "-c", example() + ASK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    stranger, known, nowhere, other = json.loads(run.stdout)
    assert stranger[0] == 401
    assert known[0] == 200
    assert "There are no jobs" in known[1]
    assert 'href="/queue/schedule"' in known[1]
    assert "remotetask" not in nowhere[1] + other[1]
    assert (nowhere[0], other[0]) == (404, 404)
