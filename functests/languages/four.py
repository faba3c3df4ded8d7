"""hello, cat, sort and readdir, by the name of the task."""

import os
import shutil
import sys


def hello() -> None:
    print("hello")


def cat() -> None:
    shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)


def sort() -> None:
    sys.stdout.writelines(sorted(sys.stdin))


def readdir(folder: str) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        size = os.stat(path).st_size
        if os.path.isdir(path):
            print("d", size, path)
            readdir(path)
        else:
            print("f" if os.path.isfile(path) else "c", size, path)


task, *args = sys.argv[1:]
{"hello": hello, "cat": cat, "sort": sort, "readdir": readdir}[task](*args)
