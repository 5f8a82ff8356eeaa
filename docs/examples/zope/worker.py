"""Run jobs in a process of their own: python worker.py [CONF]"""

import signal
import sys
import threading

import zope.app.wsgi


def main():
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Opening the database starts the services that the configuration names; the
    # end of the process stops them, once the jobs that run are finished.
    db = zope.app.wsgi.config(*sys.argv[1:] or ["zeo-worker.conf"])
    print(f"Jobs of {db.database_name} are run", flush=True)
    stop.wait()


if __name__ == "__main__":
    main()
