"""Errands: calls that an institution must still answer. One mechanism for payments, refunds, top-ups and lookups.

A row of the service's table `errands` stands for one aggregate under way. It is written in the transaction that makes
the call necessary, held by one process at a time, and deleted in the one that records the aggregate's end.

tables.py explains the columns, queue.py has their SQL. A process's dispatcher claims errands (dispatcher.py), and its
runners run them and record the results (runner.py). run.py is one run; institutions.py and breaker.py bound how
many runs there are. For operators: operate, listing, gauges.
"""

from errands.book import FirstLeg, book
from errands.dispatcher import Dispatcher
from errands.institutions import Booking, Institution, Institutions
from errands.model import NO_ERRAND, Errand, Key
from errands.queue import (
    NewErrand,
    Waiting,
    add,
    end,
    end_all_but,
    exist,
    is_missing,
    lock,
    make_due,
    redirect,
    settle,
    unsent,
)
from errands.run import ErrandRun
from errands.runner import ErrandHandler
from errands.tables import errands_tables
from errands.unclaimed_cache import UnclaimedCache

__all__ = [
    "NO_ERRAND",
    "Booking",
    "Dispatcher",
    "Errand",
    "ErrandHandler",
    "ErrandRun",
    "FirstLeg",
    "Institution",
    "Institutions",
    "Key",
    "NewErrand",
    "UnclaimedCache",
    "Waiting",
    "add",
    "book",
    "end",
    "end_all_but",
    "errands_tables",
    "exist",
    "is_missing",
    "lock",
    "make_due",
    "redirect",
    "settle",
    "unsent",
]
