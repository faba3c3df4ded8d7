#!/usr/bin/python3 -ISB
"""A runner with rules: the command line of zvm, programs of one line.

A program is `fake WORDS…`, compiled by copying it; each word is a step:
`cat` copies /dev/stdin (or /dev/input) to /dev/stdout, `print:TEXT`,
`sleep:SECONDS`, `exit:N`, `trap`, `crash`, `hang`, `garbage`, `log:TEXT`,
`long:N` bytes of stderr, `badlayer`, `env` and `args` print what was given,
`fork` leaves a child, `term:TEXT` says so when it is told to end, `lockdown`
logs what was asked of the lock-down (compiling such a program does, too).
Compiling `fake slow…` takes half a second, `fake large…` finds no room;
anything else is not wasm.  A strict artefact runs strict manifests only.
"""

import hashlib
import json
import os
import signal
import sys
import time

LOCKDOWN = []


def take_lockdown(words):
    """The words without those about the lock-down, which are kept."""
    left = iter(words)
    for word in left:
        if word == "--vm-uid":
            LOCKDOWN.extend((word, next(left)))
        elif word == "--require-landlock":
            LOCKDOWN.append(word)
        else:
            yield word


def compile_program(words):
    strict = "--strict" in words
    words = [word for word in words if word != "--strict"]
    options = dict(zip(words[:-1:2], words[1:-1:2], strict=True))
    path = words[-1]
    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(b"fake "):
        refuse("not_wasm", f"{path} does not begin with the magic number")
    if data.startswith(b"fake large"):
        refuse("no_room", f"at most {options['--cache-bytes']} bytes")
    if data.startswith(b"fake lockdown"):
        print(*LOCKDOWN, file=sys.stderr)
    if data.startswith(b"fake slow"):
        time.sleep(0.5)
    if data.startswith(b"fake compilerbug"):
        print("backtrace of /secret/path", file=sys.stderr)
        sys.exit(70)
    digest = hashlib.sha256(data).hexdigest()
    name = f"{digest}{'-strict' * strict}.cwasm"
    artefact = os.path.join(options["--cache"], name)
    cached = os.path.exists(artefact)
    with open(f"{artefact}.{os.getpid()}", "wb") as file:
        file.write(b"strict " * strict + data)
    os.rename(f"{artefact}.{os.getpid()}", artefact)
    answer = {"artefact": artefact, "sha256": digest}
    print(json.dumps({**answer, "cached": cached, "seconds": 0.25}))


def refuse(code, message):
    print(json.dumps({"error": {"code": code, "message": message}}))
    sys.exit(65)


def session(numbers):
    manifest = json.load(sys.stdin.buffer)
    descriptors = [int(number) for number in numbers.split(",")]
    channels = {
        c["path"]: descriptors[c["descriptor"]] for c in manifest["channels"]
    }
    with open(descriptors[0], "rb") as file:
        mode, _, program = file.read().decode().rpartition("fake ")
    if (mode or "default ").strip() != manifest.get("determinism", "default"):
        refuse("bad_artefact", f"the artefact was made for mode {mode}")
    steps = program.split()
    outcome = {"kind": "exit", "code": 0, "message": ""}
    tail = sum(int(s[5:]) for s in steps if s.startswith("long:"))
    for step in steps:
        outcome = run_step(step, manifest, channels) or outcome
    print(json.dumps(report(manifest, channels, outcome, tail)))


def run_step(step, manifest, channels):
    word, _, rest = step.partition(":")
    out = channels.get("/dev/stdout", -1)
    if word == "cat":
        source = channels.get("/dev/stdin", channels.get("/dev/input"))
        while data := os.read(source, 65536):
            os.write(out, data)
    elif word == "print":
        os.write(out, rest.encode())
    elif word == "zeros":
        os.write(out, bytes(int(rest)))
    elif word in ("env", "args"):
        os.write(out, json.dumps(manifest[word]).encode())
    elif word == "layers":
        names = [layer["name"] for layer in manifest["layers"]]
        os.write(out, json.dumps(names).encode())
    elif word == "sleep":
        time.sleep(float(rest))
    elif word == "exit":
        return {"kind": "exit", "code": int(rest), "message": ""}
    elif word == "trap":
        return {"kind": "trap", "code": "unreachable", "message": "here"}
    else:
        misbehave(word, rest, out)
    return None


def misbehave(word, rest, out):
    if word == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)
    elif word == "term":

        def end(*_):
            os.write(out, b" " + rest.encode())
            os._exit(0)

        signal.signal(signal.SIGTERM, end)
        os.write(out, b"ready")
        time.sleep(60)
    elif word == "fork":
        if os.fork() == 0:
            time.sleep(60)
    elif word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == "garbage":
        print("no report")
        sys.exit(0)
    elif word == "silence":
        sys.exit(0)
    elif word == "lockdown":
        print(*LOCKDOWN, file=sys.stderr)
    elif word == "log":
        print(rest, file=sys.stderr)
    elif word == "badlayer":
        refuse("bad_layer", "layer image: not a tar")
    elif word == "badmanifest":
        refuse("bad_manifest", "channel 3 is /secret/path")


def report(manifest, channels, outcome, tail):
    entries = []
    for channel in manifest["channels"]:
        fd = channels[channel["path"]]
        data = os.pread(fd, 1 << 30, 0)
        writes = channel["direction"] == "write"
        entries.append(
            {
                "path": channel["path"],
                "reads": 0 if writes else 1,
                "read_bytes": 0 if writes else len(data),
                "writes": 1 if writes else 0,
                "write_bytes": len(data) if writes else 0,
                "size": len(data),
                "blake3": hashlib.sha256(data).hexdigest(),
                "md5": hashlib.md5(data).hexdigest() if writes else None,
            }
        )
    strict = {"version": 2, "determinism": "strict", "fuel_used": 7}
    return {
        "version": 1,
        **(strict if manifest["version"] == 2 else {}),
        "outcome": outcome,
        "wall_seconds": 0.001,
        "cpu_seconds": 0.001,
        "memory_peak_bytes": 65536,
        "channels": entries,
        "stderr_tail": "e" * tail,
        "limits_reached": [],
        "program_sha256": manifest["program"]["sha256"],
        "receipt": manifest["seed"],
    }


def main(words):
    if words[0] == "compile":
        compile_program(words[1:])
    elif words[:2] == ["session", "--descriptors"]:
        session(words[2])
    else:
        sys.exit(64)


main([*take_lockdown(sys.argv[1:])])
