//! Real Python programs over WASI, in the image that users get.
//!
//! CPython touches most of WASI in ways that no small guest does: it lists and
//! stats its library, buffers every stream, seeds its hashes, makes temporary
//! files. The image is built by tools/build_images.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::{Ended, zvm};

fn image() -> PathBuf {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/images/python3.tar");
    assert!(
        image.is_file(),
        "{} is missing: run tools/build_images",
        image.display()
    );
    image
}

/// Runs a script with options of `zvm run` and some input.
fn python(options: &[&str], script: &str, input: &[u8]) -> Ended {
    let image = image();
    let mut args = vec!["run", "--layer", image.to_str().unwrap()];
    args.extend(options);
    args.extend(["python", "-c", script]);
    zvm(&args, input)
}

/// What a script prints, which must end well and without a word on stderr.
fn printed(script: &str, input: &[u8]) -> String {
    let ended = python(&[], script, input);
    assert_eq!(
        (ended.status, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    ended.stdout
}

#[test]
fn the_tree_is_walked_in_order_and_read() {
    let output = printed(
        r"
import os
seen = 0
for folder, folders, files in os.walk('/'):
    assert folders == sorted(folders) and files == sorted(files), folder
    for name in files:
        path = os.path.join(folder, name)
        status = os.stat(path)
        assert status.st_dev == 1 and status.st_ino and status.st_nlink == 1, path
        if not path.startswith('/dev/'):
            with open(path, 'rb') as file:
                assert len(file.read()) == status.st_size, path
        seen += 1
print(seen > 500, sorted(os.listdir('/'))[:2], os.listdir('/dev/in'))
print(os.listdir('/dev'))
print(os.getcwd(), os.path.realpath('/usr/../../tmp/./x'))
",
        b"",
    );
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("True ["), "{output}");
    assert!(lines[0].ends_with(" []"), "{output}");
    assert_eq!(
        lines[1],
        "['full', 'in', 'null', 'out', 'random', 'stderr', 'stdin', 'stdout', 'urandom', \
         'zero']"
    );
    assert_eq!(lines[2], "/ /tmp/x");
}

#[test]
fn files_in_tmp_do_what_files_do() {
    let output = printed(
        r"
import json, os, shutil, tempfile
with open('/tmp/a', 'w+') as file:
    json.dump({'key': [1, 2.5, None, 'ä']}, file)
    file.seek(0)
    print(json.load(file))
with open('/tmp/a', 'r+b') as file:
    file.seek(100)
    file.write(b'end')
    file.truncate(102)
print(os.path.getsize('/tmp/a'), open('/tmp/a', 'rb').read()[-3:])
with tempfile.TemporaryDirectory() as folder:
    os.makedirs(folder + '/x/y/z')
    for number in range(50):
        open(f'{folder}/x/{number}', 'w').close()
    os.symlink('x', folder + '/link')
    print(len(os.listdir(folder + '/link')), os.readlink(folder + '/link'))
    shutil.copytree(folder + '/x', folder + '/copy')
    os.replace(folder + '/copy/1', folder + '/copy/2')
    print(len(os.listdir(folder + '/copy')))
    os.utime(folder + '/x/1', (5, 7))
    print(os.stat(folder + '/x/1').st_mtime)
print(os.listdir('/tmp'))
with tempfile.TemporaryFile() as file:
    file.write(b'x' * 1000)
    file.flush()
    print(file.tell(), os.fstat(file.fileno()).st_size)
for path, mode in [('/etc', 'w'), ('/usr/local/lib/python3.11/os.py', 'a'), ('/none', 'r'), ('/dev', 'r')]:
    try:
        open(path, mode)
    except OSError as error:
        print(type(error).__name__, error.strerror)
",
        b"",
    );
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        [
            "{'key': [1, 2.5, None, 'ä']}",
            "102 b'\\x00en'",
            "51 x",
            "50",
            "7.0",
            "['a']",
            "1000 1000",
            "OSError Read-only file system",
            "OSError Read-only file system",
            "FileNotFoundError No such file or directory",
            "IsADirectoryError Is a directory",
        ]
    );
}

#[test]
fn streams_carry_all_bytes() {
    let input: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let script = r"
import hashlib, sys
data = sys.stdin.buffer.read()
print(len(data), hashlib.sha256(data).hexdigest(), sys.stdin.isatty(), sys.stdout.isatty())
for number in range(200_000):
    print('line', number)
sys.stdout.flush()
sys.stdout.buffer.write(b'end')
";
    let output = printed(script, &input);
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("3000000 "), "{}", lines[0]);
    assert!(lines[0].ends_with(" False False"), "{}", lines[0]);
    assert_eq!(lines.len(), 200_002);
    assert_eq!((lines[200_000], lines[200_001]), ("line 199999", "end"));
}

#[test]
fn text_is_read_line_by_line() {
    let script = r"
import sys
for number, line in enumerate(sys.stdin):
    print(number, repr(line))
print(repr(sys.stdin.read()), repr(input() if False else ''))
";
    let output = printed(script, "eins\nzwei ä\ndrei".as_bytes());
    assert_eq!(output, "0 'eins\\n'\n1 'zwei ä\\n'\n2 'drei'\n'' ''\n");
}

#[test]
fn channels_are_files_that_seek() {
    let folder = support::folder("channels");
    let (map, input, out) = (
        folder.join("map"),
        folder.join("input"),
        folder.join("output"),
    );
    std::fs::write(&map, b"from a peer").unwrap();
    std::fs::write(&input, b"0123456789").unwrap();
    let option = |name: &str, file: &Path| format!("{name}={}", file.display());
    let (map, input, output) = (
        option("map-1", &map),
        option("input", &input),
        option("output", &out),
    );
    let script = r"
import os
print(os.listdir('/dev/in'), os.listdir('/dev/out'))
with open('/dev/in/map-1') as file:
    print(file.read())
with open('/dev/input', 'rb') as file:
    print(file.seekable(), file.seek(-4, 2), file.read(), file.seek(2), file.read(3))
    print(os.fstat(file.fileno()).st_size)
with open('/dev/output', 'r+b') as file:
    print(file.seekable())
    file.write(b'hello world')
    file.seek(6)
    file.write(b'WORLD')
    file.truncate(10)
for path, mode in [('/dev/input', 'r+b'), ('/dev/output', 'rb')]:
    try:
        open(path, mode)
    except PermissionError as error:
        print(error.strerror)
";
    let options = ["--in", &map, "--in", &input, "--out", &output];
    let ended = python(&options, script, b"");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        ended.stdout.lines().collect::<Vec<_>>(),
        [
            "['map-1'] []",
            "from a peer",
            "True 6 b'6789' 2 b'234'",
            "10",
            "True",
            "Permission denied",
            "Permission denied",
        ]
    );
    assert_eq!(std::fs::read(out).unwrap(), b"hello WORL");
}

#[test]
fn what_a_guest_cannot_have_fails_cleanly() {
    let script = r"
import os
def attempt(name, action):
    try:
        print(name, action())
    except (OSError, RuntimeError, AttributeError, ImportError, NotImplementedError) as error:
        print(name, 'refused', type(error).__name__)
for path in ['/etc/passwd', '/proc/self/environ', '../../etc/passwd', '/sys', '/work']:
    attempt(path, lambda: open(path).read())
    attempt(path, lambda: os.listdir(path))
attempt('subprocess', lambda: __import__('subprocess').run(['ls']))
attempt('system', lambda: os.system('ls'))
attempt('fork', lambda: os.fork())
attempt('thread', lambda: __import__('threading').Thread(target=print).start())
attempt('socket', lambda: __import__('socket').create_connection(('127.0.0.1', 80)))
attempt('server', lambda: __import__('socket').socket().bind(('', 0)))
attempt('mmap', lambda: __import__('mmap').mmap(-1, 4096))
attempt('kill', lambda: os.kill(1, 9))
print('still here')
";
    let output = printed(script, b"");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.last(), Some(&"still here"), "{output}");
    for line in &lines[..lines.len() - 1] {
        assert!(line.contains(" refused "), "{output}");
    }
}

/// Everything that differs between runs of a native Python, printed.
const IMPURE: &str = r"
import glob, os, platform, random, sys, tempfile, time, uuid
print(time.time(), time.monotonic(), time.perf_counter(), time.process_time())
print(time.localtime(), time.strftime('%c'))
start = time.monotonic(); time.sleep(5); print(round(time.monotonic() - start, 3))
print(os.urandom(16).hex(), random.random(), uuid.uuid4(), tempfile.mkdtemp())
print(hash('text'), {str(number) for number in range(100)}, id(object()))
print(os.environ, sys.argv, sys.flags, sys.path, sys.version, platform.platform())
print(os.stat('/'), os.stat('/tmp'), os.stat('/dev/stdin'))
print([os.stat(path) for path in glob.glob('/usr/local/lib/python3.11/*.py')[:50]])
print(os.scandir('/dev'), sorted(sys.modules), file=sys.stderr)
raise SystemExit(7)
";

#[test]
fn two_runs_are_equal_byte_for_byte() {
    let start = Instant::now();
    let first = python(&[], IMPURE, b"");
    std::thread::sleep(Duration::from_millis(20));
    let second = python(&[], IMPURE, b"");
    assert_eq!(first.status, Some(7), "{first:?}");
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(first.stderr, second.stderr);
    assert!(first.stdout.starts_with("946684800.0"), "{}", first.stdout);
    assert!(first.stdout.contains("\n5.0"), "{}", first.stdout);
    // Compiling the image's program counts here, once.
    assert!(start.elapsed() < Duration::from_secs(300));
    let other = python(&["--seed", &"ab".repeat(32)], IMPURE, b"");
    assert_ne!(other.stdout, first.stdout);
}

#[test]
fn a_full_tmp_is_an_error_that_python_survives() {
    let script = r"
import errno
try:
    with open('/tmp/big', 'wb') as file:
        while True:
            file.write(b'x' * 65536)
except OSError as error:
    print(error.errno == errno.ENOSPC)
import os
os.remove('/tmp/big')
print(open('/tmp/small', 'w').write('fits'))
";
    let ended = python(&["--tmp", "1M"], script, b"");
    assert_eq!(ended.stdout, "True\n4\n", "{ended:?}");
}
