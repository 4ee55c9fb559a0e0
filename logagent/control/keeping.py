# SPDX-License-Identifier: Apache-2.0
"""When the cache on disk is read and written; what it looks like is in `cache`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from logagent import clock as clocks
from logagent.clock import WallClock
from logagent.config.services import PathRules
from logagent.control import cache
from logagent.control.cache import Cached, cached_document
from logagent.control.keys import Keys
from logagent.control.members import Members
from logagent.control.steering import Held
from logagent.errors import StateError
from logagent.ops.events import Events
from logagent.spawn import in_thread
from logagent.stores.store import Api

KEEP_EVERY_S = 300.0


class Keeping:
    """The cache of one supervisor at `path`. `call` runs what blocks on the disk."""

    def __init__(
        self,
        path: Path,
        events: Events,
        *,
        wall: WallClock = clocks.wall,
        call: Callable[..., Any] = in_thread,
    ) -> None:
        self._path = path
        self._events = events
        self._wall = wall
        self._call = call
        self._kept: tuple[object, ...] | None = None
        self._kept_revision = 0
        self._saved_at_s = 0.0
        self._keys = Keys("", "")

    @property
    def age_s(self) -> float:
        """How old what was read or written last is."""
        return max(0.0, self._wall() - self._saved_at_s)

    def load(self, members: Members, keys: Keys, rules: PathRules) -> Held:
        """What was in force when the agent last ran; the members get to know its API. Blocks on the disk."""
        self._keys = keys
        found, refusal = cache.load(self._path, keys.watch_key, keys.host)
        if found is None:
            if self._path.exists():
                self._events.etcd_cache_unusable(reason=refusal)
            return Held()
        self._saved_at_s = found.saved_at_s
        members.remember(found.api)
        # The rules stay open, so that every value is read again: its faults are not in the cache.
        return Held(
            {document.key: document for document in found.restored(rules)},
            found.groups,
            # Revisions of another API count something else.
            seen=found.seen if members.api == found.api else None,
        )

    def keep(self, held: Held, api: Api, *, last: bool = False) -> None:
        """Write what is in force, if it is not what was written last. Waits for the disk, raises nothing.

        The revision that was seen is written with it, every few minutes and at the `last` call: by it a wiped
        cluster is known after a restart.
        """
        if held.seen is None:
            return
        lists = tuple((one.key, one.revision, one.sha256) for one in held.documents.values())
        now = (api, held.seen.cluster_id, held.groups, lists, held.seen.suspicion)
        moved = held.seen.revision != self._kept_revision
        if now == self._kept and not (moved and (last or self.age_s > KEEP_EVERY_S)):
            return
        cached = Cached(
            api,
            held.seen.cluster_id,
            held.seen.revision,
            held.seen.term,
            self._keys.watch_key,
            self._keys.host,
            {key: cached_document(document) for key, document in held.documents.items()},
            held.groups,
            self._wall(),
            held.seen.suspicion,
        )
        try:
            self._call(cache.save, self._path, cached)
        except StateError as error:
            # Tried again at the next list.
            self._events.etcd_cache_failed(error=error)
            return
        self._kept, self._kept_revision, self._saved_at_s = now, cached.revision, cached.saved_at_s
        self._events.etcd_cache_back()
