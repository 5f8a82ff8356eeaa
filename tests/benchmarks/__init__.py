"""Benchmarks: what the queue costs, against bare commits in the same run.

Run them all, or some by name::

    python -m tests.benchmarks [NAME ...] [--quick] [--rounds N] [--json]

Absolute figures say more about the machine than about the library.  So what is
compared is measured in one process, in short turns, one after the other, several
times (A B A B ...); the ratio of each round is kept, and the median is reported
with the smallest and the largest.
"""
