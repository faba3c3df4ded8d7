"""The embedded Swift of `make demo` and of the functional tests.

One folder, one command: real proxy, account, container and object servers of
PyPI `swift`, our filters in their real pipelines, storage nodes on
127.0.0.1 to 127.0.0.N.  Nothing needs root, memcached, rsync or syslog, and
nothing outlives the command.

    settings     what is asked, checked            installation  zvm, images
    folder       DIR: lock, key, ports, env file   confs         Swift's confs
    rings        rings and swift.conf              cache         the memcached
    launch       the story, from DIR to its end    supervisor    forks, stops
    serve        one process of servers            handle        for programs

Importing this package does not import Swift; `rings` and `serve` do, when a
cluster starts.
"""

from zerocloud.cluster.handle import Cluster
from zerocloud.cluster.settings import (
    ClusterSettings,
    SettingsError,
    StartError,
)

__all__ = ["Cluster", "ClusterSettings", "SettingsError", "StartError"]
