#!file://python3:python
"""The smallest job: a script posted by itself.

Its first line names the interpreter as a member of a system image; the
cluster wraps it into a job of one node.
"""

import sys

print("hello from Python", sys.version.split()[0], "on", sys.platform)
