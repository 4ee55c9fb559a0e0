# SPDX-License-Identifier: Apache-2.0
"""Several watches as one: where one connection cannot carry them all."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing

import gevent
from gevent.queue import Queue

from logagent.errors import EtcdError, WatchEnded
from logagent.spawn import Spawner

_MAX_WAITING_NEWS = 100

Watch = Generator[int, None, None]


def follow_all(watches: Mapping[str, Watch], spawner: Spawner) -> Iterator[int]:
    """What any of the watches yields; over with the first of them. Each runs in a greenlet, named by its key here."""
    news: Queue[int | EtcdError] = Queue(_MAX_WAITING_NEWS)
    greenlets = [spawner.once(f"watch {name}", _run, watch, news) for name, watch in watches.items()]
    try:
        while True:
            found: int | EtcdError = news.get()
            if isinstance(found, EtcdError):
                raise found
            yield found
    finally:
        gevent.killall(greenlets, block=False)


def _run(watch: Watch, news: "Queue[int | EtcdError]") -> None:
    end: EtcdError = WatchEnded("a watch failed unexpectedly")
    try:
        with closing(watch):  # its connection ends here, not when somebody lets go of it
            for changes in watch:
                news.put(changes)
    except EtcdError as error:
        end = error
    finally:
        _put_last(end, news)


def _put_last(end: EtcdError, news: "Queue[int | EtcdError]") -> None:
    """Without waiting: perhaps nobody listens any more. What there is no room for need not be told beside the end."""
    while news.full():
        news.get_nowait()
    news.put_nowait(end)
