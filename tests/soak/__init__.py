"""A soak: many processes use one service for long, and nothing may go wrong.

::

    python -m tests.soak --minutes 15 [--kind ZEO] [--kills] [--rate 40]

Producers add jobs of all sorts, cancel them, start them, retry them and ask how far
they are; workers run them; an auditor looks at what is over, and removes it.  At the
end the exit status tells whether every job ended once and had its effect once, nothing
is stuck, and the processes have not grown.
"""
