"""A newsroom's queue with 10,000 jobs, its workers, and its dashboard: a program.

It prints the dashboard's address, and ends when its standard input does::

    python -m tests.web.live

Below ``/empty`` is that of an empty queue, below ``/night`` that of one that nobody
works on, and below ``/gone`` that of none.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import Any

import transaction
import ZODB

from lovely import remotetask
from lovely.remotetask import history
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.web import make_app, mount
from lovely.remotetask.web.serving import Server
from lovely.remotetask.web.store import Store

JOBS = 10_000
#: How many of them fail, and how many are left at the beginning.
FAILING, WAITING = 40, 30

#: How often pages look for news.
REFRESH = 1.0

PAPERS = ("gazette", "courier", "herald", "observer")


@remotetask.task("mail.send", retry=0)
def send(mail: Any) -> Any:
    """Tell that it was sent."""
    return {"sent": True, "to": mail["to"]}


@remotetask.task("feeds.fetch", retry=0)
def fetch(feed: Any) -> Any:
    """Fail, as feeds do."""
    raise ConnectionError(f"{feed['url']} does not answer")


@remotetask.task("reports.render", retry=0)
def render(report: Any) -> Any:
    """Take as long as it is let, and tell how far it is."""
    run = remotetask.current()
    for page in range(1, 100_000):
        run.checkCancelled()
        page %= report["pages"]
        run.progress(page / report["pages"], f"page {page} of {report['pages']}")
        time.sleep(0.05)


@remotetask.task("archive.collect-everything-that-was-printed-in-the-last-century")
def collect(pages: Any) -> Any:
    """Fail, at length."""
    raise RuntimeError("There is no room left for " + ", ".join(pages * 10))


def service_in(root: Any, name: str) -> Any:
    """A new service."""
    service = root[name] = remotetask.TaskService()
    service.__parent__, service.__name__ = root, name
    service.processorFactory = MultiProcessor
    service.processorArguments = {
        "maxThreads": 3,
        "waitTime": 0.05,
        "heartbeat": 1.0,
    }
    transaction.commit()
    return service


def fill(service: Any) -> None:
    """Run what is quick; then add what stays, and let workers begin."""
    for number in range(JOBS - FAILING - WAITING - 5):
        reader = f"reader{number}@example.com"
        service.add("mail.send", {"to": reader, "subject": "Today's news"})
    for number in range(FAILING):
        url = f"https://{PAPERS[number % 4]}.example.com/feed-{number}.xml"
        service.add("feeds.fetch", {"url": url, "password": "hidden"})
    # So they are in no history, of which there is one already.
    while service.processNext():
        pass
    transaction.commit()
    service.startProcessing()
    for number in range(WAITING):
        service.add("reports.render", {"month": number % 12 + 1, "pages": 100})
    service.addCronJob("mail.send", {"to": "all@example.com"}, hour=6, minute=30)
    service.addCronJob("feeds.fetch", {"url": "https://gazette.example.com"}, every=900)
    paused = service.addCronJob("reports.render", {"pages": 20}, dayOfWeek=0, hour=4)
    service.pause(paused)
    service.runNow(paused - 1)
    service.add("mail.send", {"to": "eva@example.com"}, delay=7200)
    service.cancel(service.add("mail.send", {"to": "adam@example.com"}))
    transaction.commit()


def leave_alone(service: Any) -> None:
    """Add what nobody works on, with names and texts that are long."""
    service.stalledAfter = 0.001
    long = "archive.collect-everything-that-was-printed-in-the-last-century"
    failed = service.add(long, ["a-very-long-name-of-a-page" * 9, "x"], retry=0)
    service.process()
    service.add(long, {"what": ["everything"] * 300}, retry=0)
    service.add(long, startLater=True)
    service.addCronJob(
        long, cron="*/5 1-23/2 1,15 jan-nov mon-fri", timezone="Asia/Tokyo"
    )
    service.runNow(
        service.addCronJob(long, minute=tuple(range(0, 60, 7)), hour=(1, 3, 5))
    )
    assert failed == 1
    transaction.commit()


def remember(service: Any) -> None:
    """What became of runs in the hour before: a history as it may have been."""
    now = history.minute_of(int(time.time() * 1_000_000))
    rows = {}
    for back in range(1, 61):
        wave = 1 + math.sin(back / 7) / 2 + math.sin(back * 1.7) / 8
        completed, failed = int(120 * wave), (0, 0, 3, 0, 9, 1)[back % 6]
        retried, runs = failed // 2, completed + failed
        waited = runs * (0.25 + max(0, wave - 1.2) * 3)
        rows[now - back] = (completed, failed, retried, waited, runs * 0.42 * wave)
    history.keep(service, rows)
    transaction.commit()


def main() -> None:
    """Serve it until there is nothing more to read."""
    db = ZODB.DB(None)
    root = db.open().root()
    service = service_in(root, "newsroom")
    service_in(root, "empty")
    leave_alone(service_in(root, "night"))
    remember(service)
    fill(service)
    store = Store(db, "newsroom")
    app = make_app(db, "newsroom", allow_changes=True, refresh=REFRESH)
    for name in ("empty", "night", "gone"):
        app = mount(app, f"/{name}", make_app(db, name, refresh=REFRESH))
    server = Server(app, "127.0.0.1", 0, {})
    serving = threading.Thread(target=server.run)
    serving.start()
    print(server.address, flush=True)
    sys.stdin.read()
    server.stop()
    transaction.begin()
    reports = [j.id for j in service.jobs.values() if j.task == "reports.render"]
    for jobid in reports:
        # Workers take them meanwhile.
        store.change(lambda service, jobid=jobid: service.cancel(jobid), "", "")
    transaction.begin()
    service.stopProcessing(wait=True, timeout=20)
    serving.join(20)
    transaction.abort()
    db.close()


if __name__ == "__main__":
    main()
