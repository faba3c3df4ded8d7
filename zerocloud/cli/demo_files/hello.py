#!file://python3:python
import os
import sys

print("Python", sys.version.split()[0], "on", sys.platform)
print("primes:", [n for n in range(2, 40) if all(n % d for d in range(2, n))])
print("the root directory holds:", sorted(os.listdir("/")))
try:
    open("/etc/passwd")
except OSError as error:
    print("the host's /etc/passwd:", error.strerror)
