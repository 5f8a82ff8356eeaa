"""``python -m lovely.remotetask.cli`` is the command ``remotetask``."""

from lovely.remotetask.cli import main

if __name__ == "__main__":
    main(prog_name="remotetask")
