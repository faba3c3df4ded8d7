//! The daemon and whoever does not keep to the protocol: a clear answer, nothing
//! lost but what ran, and the next request is served.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::daemon::{
    Client, Daemon, begin, error_of, nulls, packet, request, wait_for, waiting,
};
use support::{Session, assert_outcome, folder};

fn hello() -> Session {
    Session::new("hello").output("/dev/stdout", "sequential", 100)
}

fn serves(daemon: &Daemon) {
    assert_outcome(&daemon.client().report(&hello()), "exit", "0");
}

/// Sends one packet after the hello; what the daemon says before it hangs up.
fn fatal(daemon: &Daemon, bytes: &[u8], descriptors: usize) -> (String, String) {
    let client = daemon.client();
    client.send(bytes, &nulls(descriptors));
    client.last_word()
}

#[test]
fn garbage_ends_the_connection_with_its_reason() {
    let daemon = Daemon::start(&[]);
    let long = packet(b'M', 1, &vec![0; 65_529]);
    let cases: [(&[u8], &str); 6] = [
        (b"\xff", "a packet has 1 bytes; its header alone has 8"),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "a packet has bytes 1 to 3 that are not zero",
        ),
        (
            &packet(b'Q', 1, b""),
            "a packet is of kind 81; H, B, M, C, S are known",
        ),
        (
            &packet(b'B', 1, b"short"),
            "a packet of kind B is too short",
        ),
        (
            &packet(b'M', 5, b"x"),
            "a packet continues request 5, which is not there",
        ),
        (&long, "a packet has more than 65536 bytes"),
    ];
    for (bytes, text) in cases {
        let (code, message) = fatal(&daemon, bytes, 0);
        assert_eq!((code.as_str(), message.as_str()), ("bad_packet", text));
    }
    serves(&daemon);
}

#[test]
fn every_single_byte_is_answered_and_none_kills() {
    let daemon = Daemon::start(&["--idle", "1"]);
    for byte in 0..=255u8 {
        let client = Client::silent(&daemon.socket);
        client.send(&[byte; 9], &[]);
        assert_eq!(client.last_word().0, "bad_packet", "{byte}");
    }
    serves(&daemon);
}

#[test]
fn another_version_is_named_and_refused() {
    let daemon = Daemon::start(&[]);
    let client = Client::silent(&daemon.socket);
    client.send(&packet(b'H', 0, br#"{"version": 2}"#), &[]);
    let (code, message) = client.last_word();
    assert_eq!(code, "unknown_version");
    assert_eq!(message, "the client speaks version 2; this daemon speaks 1");
    let mut session = hello();
    session.manifest["version"] = json!(9);
    let (code, message) = daemon.client().refused(&session);
    assert_eq!(code, "unknown_version");
    assert_eq!(message, "manifest: /version is 9; this zvm knows 1 to 2");
    serves(&daemon);
}

#[test]
fn a_manifest_cut_or_broken_is_refused_under_its_request() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let session = hello();
    let text = session.text();
    let cut = &text[..text.len() - 1];
    for (number, text) in [(1, cut), (2, &b"\xff\xfe"[..]), (3, b"[]"), (4, b"{}")] {
        for (bytes, fds) in request(number, text, session.open(), 0) {
            client.send(&bytes, &fds);
        }
        let (code, message) = error_of(&client.answer_to(number));
        assert_eq!(code, "bad_manifest", "{message}");
        assert!(message.starts_with("manifest: "), "{message}");
    }
    serves(&daemon);
}

#[test]
fn a_manifest_that_says_it_is_too_long_is_refused_before_it_comes() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.send(&begin(900, (4 << 20) + 1, 0, b"{"), &[]);
    let (code, message) = error_of(&client.answer_to(900));
    assert_eq!(code, "bad_manifest");
    assert_eq!(message, "manifest: has 4194305 bytes; 4194304 are allowed");
    // The connection is as good as before.
    assert_outcome(&client.report(&hello()), "exit", "0");
}

#[test]
fn fewer_or_more_descriptors_than_named_are_told() {
    let daemon = Daemon::start(&[]);
    let session = hello();
    let text = session.text();
    // One less than the manifest names.
    let client = daemon.client();
    client.send(&begin(1, text.len(), 1, &text), &session.open()[..1]);
    let (code, message) = error_of(&client.answer_to(1));
    assert_eq!(code, "bad_manifest");
    assert_eq!(
        message,
        "manifest: /channels/0/descriptor is 1; 1 were given"
    );
    // One more.
    let mut fds = session.open();
    fds.extend(nulls(1));
    client.send(&begin(2, text.len(), 3, &text), &fds);
    let (code, message) = error_of(&client.answer_to(2));
    assert_eq!(code, "bad_manifest");
    let expected = "manifest: descriptor 2 of 3 is given and has no use";
    assert_eq!(message, expected);
    // More than the packet announced.
    let client = daemon.client();
    client.send(&begin(3, text.len(), 1, &text), &session.open());
    let (code, message) = client.last_word();
    assert_eq!(code, "bad_packet");
    let expected = "a packet brings request 3 to 2 descriptors; it said 1";
    assert_eq!(message, expected);
    serves(&daemon);
}

#[test]
fn the_number_of_descriptors_is_capped_by_the_limit_on_open_files() {
    let socket = folder("few").join("socket");
    let daemon = Daemon::spawn_at(&socket, &[], &["prlimit", "--nofile=400:400"]);
    wait_for("the socket", || socket.exists().then_some(()));
    let client = daemon.client();
    client.send(&begin(1, 1, 101, b"x"), &nulls(101));
    let (code, message) = error_of(&client.answer_to(1));
    assert_eq!(code, "bad_manifest");
    assert_eq!(
        message,
        "the request has 101 descriptors; 100 are allowed (the smaller of 10000 and a \
         quarter of this daemon's limit on open files)"
    );
    let before = daemon.open_files();
    // As many as are allowed are taken, and given back. The daemon may still be
    // opening a few of its own, for the processes that wait for a job.
    const ITS_OWN: usize = 50;
    client.send(&begin(2, 1, 100, b"x"), &nulls(100));
    assert_eq!(error_of(&client.answer_to(2)).0, "bad_manifest");
    wait_for("its descriptors", || {
        (daemon.open_files() < before + ITS_OWN).then_some(())
    });
    serves(&daemon);
}

#[test]
fn descriptors_held_by_unfinished_requests_make_it_busy_not_broken() {
    let socket = folder("held").join("socket");
    let daemon = Daemon::spawn_at(&socket, &[], &["prlimit", "--nofile=400:400"]);
    wait_for("the socket", || socket.exists().then_some(()));
    let client = daemon.client();
    let mut busy = 0;
    for number in 1..=5 {
        client.send(&begin(number, 10, 100, b"x"), &nulls(90));
    }
    client.send(&packet(b'S', 77, b""), &[]);
    loop {
        match client.receive().unwrap() {
            ('R', _, document) => {
                assert_eq!(error_of(&document).0, "busy");
                busy += 1;
            }
            (kind, _, _) => {
                assert_eq!(kind, 'S');
                break;
            }
        }
    }
    assert!(busy >= 1);
    drop(client);
    serves(&daemon);
}

#[test]
fn descriptors_that_are_only_announced_count_as_well() {
    let socket = folder("announced").join("socket");
    let daemon = Daemon::spawn_at(&socket, &[], &["prlimit", "--nofile=400:400"]);
    wait_for("the socket", || socket.exists().then_some(()));
    let client = daemon.client();
    // Together four times what the daemon can open.
    for number in 1..=15 {
        client.send(&begin(number, 1, 100, b"x"), &nulls(1));
    }
    client.send(&packet(b'S', 77, b""), &[]);
    let mut busy = Vec::new();
    while let Some(('R', number, document)) = client.receive() {
        assert_eq!(error_of(&document).0, "busy");
        busy.push(number);
    }
    assert!((12..15).contains(&busy.len()), "{busy:?}");
    // For those that it did not refuse there is room, and for others' requests too.
    let taken = (1..=15).filter(|number| !busy.contains(number));
    for number in taken.clone() {
        client.send(&packet(b'M', number, b""), &nulls(98));
    }
    serves(&daemon);
    for number in taken {
        client.send(&packet(b'M', number, b""), &nulls(1));
        // Its manifest is "x".
        assert_eq!(error_of(&client.answer_to(number)).0, "bad_manifest");
    }
    serves(&daemon);
}

fn write_only(content: &[u8]) -> OwnedFd {
    let path = folder("write-only").join("file");
    std::fs::write(&path, content).unwrap();
    File::options().write(true).open(path).unwrap().into()
}

fn directory() -> OwnedFd {
    File::open("/").unwrap().into()
}

fn stream() -> OwnedFd {
    let (ours, _) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.into()
}

/// Replaces descriptor `index` of a session; what is said then.
fn with(daemon: &Daemon, session: &Session, index: usize, fd: OwnedFd) -> Value {
    let client = daemon.client();
    let mut fds = session.open();
    fds[index] = fd;
    for (bytes, fds) in request(1, &session.text(), fds, 0) {
        client.send(&bytes, &fds);
    }
    client.answer_to(1)
}

#[test]
fn descriptors_of_the_wrong_kind_are_refused_by_the_name_of_their_channel() {
    let daemon = Daemon::start(&[]);
    let session = || {
        Session::new("cat")
            .input("/dev/stdin", "sequential", b"x")
            .output("/dev/stdout", "sequential", 10)
    };
    let read_only = || File::open("/dev/null").unwrap().into();
    let cases: [(usize, OwnedFd, &str); 5] = [
        (
            1,
            directory(),
            "/channels/0 (/dev/stdin): descriptor is a Directory",
        ),
        (
            1,
            write_only(b"some"),
            "(/dev/stdin): descriptor is opened for writing only",
        ),
        (2, stream(), "(/dev/stdout): descriptor is a stream"),
        (
            2,
            write_only(b""),
            "(/dev/stdout): descriptor is opened for writing only",
        ),
        (
            2,
            read_only(),
            "(/dev/stdout): descriptor is opened for reading only",
        ),
    ];
    for (index, fd, text) in cases {
        let (code, message) = error_of(&with(&daemon, &session(), index, fd));
        assert_eq!(code, "bad_channel", "{message}");
        assert!(message.contains(text), "{message}");
    }
    for fd in [directory(), stream(), write_only(b"some")] {
        let (code, _) = error_of(&with(&daemon, &session(), 0, fd));
        assert!(
            ["bad_artefact", "failure"].contains(&code.as_str()),
            "{code}"
        );
    }
    let tar = folder("tar").join("layer");
    std::fs::write(&tar, b"").unwrap();
    let layered = Session::new("hello").layer(&tar);
    for fd in [directory(), stream(), write_only(b"some")] {
        let (code, message) = error_of(&with(&daemon, &layered, 1, fd));
        assert_eq!(code, "bad_layer", "{message}");
    }
    serves(&daemon);
}

#[test]
fn an_artefact_that_is_damaged_or_anothers_is_refused() {
    let daemon = Daemon::start(&[]);
    let other = Session::new("spin").open().remove(0);
    let (code, message) = error_of(&with(&daemon, &hello(), 0, other));
    assert_eq!(code, "bad_artefact");
    assert!(message.contains("was made from module"), "{message}");
    let (artefact, _) = support::compile("hello");
    let mut content = std::fs::read(artefact).unwrap();
    // The engine's own header, and what it was made with.
    content[..4096].fill(0xff);
    let damaged = folder("damaged").join("artefact");
    std::fs::write(&damaged, content).unwrap();
    let damaged = File::open(damaged).unwrap().into();
    let (code, _) = error_of(&with(&daemon, &hello(), 0, damaged));
    assert_eq!(code, "bad_artefact");
    serves(&daemon);
}

#[test]
fn a_slow_client_is_given_up_and_the_others_are_not() {
    let daemon = Daemon::start(&[]);
    let silent = Client::silent(&daemon.socket);
    let slow = daemon.client();
    slow.send(&begin(3, 100, 2, b"{\"ver"), &nulls(1));
    let mut other = daemon.client();
    let began = Instant::now();
    let (session, pipe) = waiting();
    let running = other.begin(&session);
    let (code, message) = slow.last_word();
    assert_eq!(code, "bad_packet");
    assert_eq!(
        message,
        "request 3 is not complete after 10 seconds: 5 of 100 bytes and 1 of 2 \
         descriptors have come"
    );
    let (code, message) = silent.last_word();
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("bad_packet", "no hello within 10 seconds")
    );
    assert!(began.elapsed() >= Duration::from_secs(9));
    drop(pipe);
    assert_outcome(&other.answer_to(running)["report"], "exit", "0");
}

#[test]
fn an_error_of_one_request_leaves_the_others_of_the_connection_alone() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let (session, pipe) = waiting();
    let running = client.begin(&session);
    let (code, _) = client.refused(&hello().redirect(1, "</dev/null".to_owned()));
    assert_eq!(code, "bad_channel");
    drop(pipe);
    assert_outcome(&client.answer_to(running)["report"], "exit", "0");
}

#[test]
fn a_second_daemon_on_the_socket_refuses_and_the_first_serves_on() {
    let daemon = Daemon::start(&[]);
    let mut second = Daemon::spawn_at(&daemon.socket, &[], &[]);
    assert_eq!(second.status(), Some(65));
    let log = daemon.log();
    assert!(log.contains("another daemon has this socket"), "{log}");
    serves(&daemon);
}

#[test]
fn a_peer_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can be played without root; the check is the same code.
        return;
    }
    // Where everybody can get to, and with a socket that anybody could use.
    let name = format!("zvm-peer-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let daemon = Daemon::start_at(&folder.join("socket"), &[]);
    for path in [&folder, &daemon.socket] {
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(path, open).unwrap();
    }
    let script = "import socket,sys\n\
        s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n\
        s.connect(sys.argv[1])\n\
        sys.stdout.buffer.write(s.recv(1000)[8:])";
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["/usr/bin/python3", "-c", script])
        .arg(&daemon.socket)
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let (code, message) = error_of(&said);
    assert_eq!(code, "forbidden");
    let expected = "the peer's user is 65534; allowed are 0, 0 and --peer-uid";
    assert_eq!(message, expected);
    serves(&daemon);
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_client_that_reads_no_answers_holds_up_nobody() {
    let daemon = Daemon::start(&[]);
    let mut deaf = daemon.client();
    let chatty = || {
        Session::new("endless_stderr")
            .limit("wall_seconds", json!(0.2))
            .limit("stderr_bytes", json!(1 << 20))
    };
    let numbers: Vec<u32> = (0..6).map(|_| deaf.begin(&chatty())).collect();
    wait_for("their ends", || {
        serves(&daemon);
        (daemon.client().status()["taken"] == 0).then_some(())
    });
    // Nothing was lost: they are all there when it reads at last.
    let mut heard: Vec<u32> = (0..6).map(|_| deaf.receive().unwrap().1).collect();
    heard.sort_unstable();
    assert_eq!(heard, numbers);
}
