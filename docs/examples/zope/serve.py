"""Serve the example on this machine alone: python serve.py [CONF] [--port PORT]"""

import argparse
import pathlib
import signal
import sys

import waitress
from zope.app.wsgi import getWSGIApplication


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("conf", nargs="?", default="zope.conf")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    options = parser.parse_args()
    # To exit, not to be killed: jobs that run are finished or given back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    pathlib.Path("var").mkdir(exist_ok=True)
    application = getWSGIApplication(options.conf)
    server = waitress.create_server(application, host="127.0.0.1", port=options.port)
    address = f"http://127.0.0.1:{server.effective_port}/news/tasks"
    print(f"The jobs are at {address}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
