# SPDX-License-Identifier: Apache-2.0
"""The parts of pykafka that we use, without the rest of it. The only module that imports pykafka.

`import pykafka` brings its consumers, a ZooKeeper client and pkg_resources (gone from current setuptools): 10 MiB and a
tenth of a second for an agent that wants a socket and a message. While its parts are imported, stand-ins take the place
of the package's own `__init__` and of pkg_resources; then they go, and whoever wants all of pykafka gets it.
"""

import importlib.machinery
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _without_the_rest() -> Iterator[None]:
    package = ModuleType("pykafka")
    spec = importlib.machinery.PathFinder.find_spec("pykafka")
    package.__path__ = list(spec.submodule_search_locations or ()) if spec is not None else []
    versions = ModuleType("pkg_resources")
    vars(versions)["parse_version"] = (
        None  # only old broker versions are compared with it, in parts unused here
    )
    stand_ins = {
        name: stand_in
        for name, stand_in in (("pykafka", package), ("pkg_resources", versions))
        if name not in sys.modules
    }
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


with _without_the_rest():
    from pykafka.connection import BrokerConnection
    from pykafka.exceptions import SocketDisconnectedError
    from pykafka.protocol.metadata import MetadataRequestV1, MetadataResponseV1

__all__ = ["BrokerConnection", "MetadataRequestV1", "MetadataResponseV1", "SocketDisconnectedError"]
