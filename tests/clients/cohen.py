"""Cohen3, a UPnP media server that sends events anywhere: run on one interface, with a folder."""

import collections
import collections.abc
import sys

# Written for Pythons in which these were still here.
for name in collections.abc.__all__:
    setattr(collections, name, getattr(collections.abc, name))

from coherence.base import Coherence  # noqa: E402
from twisted.internet import reactor  # noqa: E402

interface, port, folder = sys.argv[1:]
plugin = {"backend": "FSStore", "name": "shelf", "content": folder}
config = {
    "logging": {"level": "critical"},
    "interface": interface,
    "serverport": port,
    "plugin": [plugin],
}
reactor.callWhenRunning(Coherence, config)
reactor.run()
