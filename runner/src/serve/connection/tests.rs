use super::*;

const ALLOWED: Allowance = Allowance {
    request: 4,
    now: 100,
};

fn connection(greeted: bool) -> Connection {
    let (ours, _) = crate::serve::packet::pair().unwrap();
    let mut connection = Connection::new(ours, Instant::now());
    connection.greeted = greeted;
    connection
}

fn packet(kind: u8, request: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend(request.to_be_bytes());
    packet.extend(body);
    packet
}

fn begin(request: u32, bytes: u32, descriptors: u32, manifest: &[u8]) -> Vec<u8> {
    let mut body = bytes.to_be_bytes().to_vec();
    body.extend(descriptors.to_be_bytes());
    body.extend(2000u32.to_be_bytes());
    body.extend(manifest);
    packet(b'B', request, &body)
}

fn fds(number: usize) -> Vec<OwnedFd> {
    let null = std::fs::File::open("/dev/null").unwrap();
    (0..number)
        .map(|_| null.try_clone().unwrap().into())
        .collect()
}

fn take(connection: &mut Connection, packet: &[u8], number: usize) -> Action {
    connection
        .take(packet, fds(number), ALLOWED, Instant::now())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn fatal(connection: &mut Connection, packet: &[u8], number: usize) -> String {
    match connection.take(packet, fds(number), ALLOWED, Instant::now()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was taken"),
    }
}

fn complete(action: Action) -> Request {
    match action {
        Action::Run(request) => request,
        _ => panic!("not complete"),
    }
}

#[test]
fn a_request_in_one_packet_is_complete_at_once() {
    let request = complete(take(&mut connection(true), &begin(3, 2, 1, b"{}"), 1));
    assert_eq!((request.number, request.fds.len()), (3, 1));
    assert_eq!(request.manifest, b"{}");
    assert_eq!(request.queue, Duration::from_secs(2));
}

#[test]
fn requests_that_arrive_in_turns_are_kept_apart() {
    let mut connection = connection(true);
    let action = take(&mut connection, &begin(1, 4, 2, b"ab"), 1);
    assert!(matches!(action, Action::Nothing));
    take(&mut connection, &begin(2, 2, 0, b"x"), 0);
    // One has come, one is to come.
    assert_eq!(connection.held(), 2);
    let second = complete(take(&mut connection, &packet(b'M', 2, b"y"), 0));
    assert_eq!(second.manifest, b"xy");
    let first = complete(take(&mut connection, &packet(b'M', 1, b"cd"), 1));
    assert_eq!(
        (first.manifest.as_slice(), first.fds.len()),
        (&b"abcd"[..], 2)
    );
    assert_eq!(connection.held(), 0);
}

#[test]
fn nothing_comes_before_the_hello_and_it_comes_once() {
    let hello = packet(b'H', 0, br#"{"version": 1}"#);
    let mut connection = connection(false);
    let text = fatal(&mut connection, &begin(1, 1, 0, b"x"), 0);
    assert_eq!(text, "a packet came before the hello");
    assert!(matches!(take(&mut connection, &hello, 0), Action::Welcome));
    assert_eq!(
        fatal(&mut connection, &hello, 0),
        "a packet is a second hello"
    );
}

#[test]
fn another_version_is_refused_by_number() {
    let hello = packet(b'H', 0, br#"{"version": 2}"#);
    let text = fatal(&mut connection(false), &hello, 0);
    assert_eq!(text, "the client speaks version 2; this daemon speaks 1");
}

#[test]
fn more_than_was_announced_ends_the_connection() {
    let text = fatal(&mut connection(true), &begin(1, 1, 0, b"xy"), 0);
    assert_eq!(text, "a packet brings request 1 to 2 bytes; it said 1");
    let text = fatal(&mut connection(true), &begin(1, 3, 1, b"x"), 2);
    assert_eq!(
        text,
        "a packet brings request 1 to 2 descriptors; it said 1"
    );
    let text = fatal(&mut connection(true), &packet(b'M', 9, b"x"), 0);
    assert_eq!(text, "a packet continues request 9, which is not there");
    let text = fatal(&mut connection(true), &packet(b'C', 9, b""), 1);
    assert_eq!(text, "a packet that names no request has descriptors");
}

#[test]
fn a_number_is_used_once_at_a_time() {
    let mut connection = connection(true);
    take(&mut connection, &begin(1, 4, 0, b"ab"), 0);
    let text = fatal(&mut connection, &begin(1, 4, 0, b"ab"), 0);
    assert_eq!(text, "a packet begins request 1, which is there");
}

#[test]
fn what_is_refused_is_swallowed_to_its_end_and_hurts_no_other() {
    let mut connection = connection(true);
    let Action::Refuse(7, error) = take(&mut connection, &begin(7, 2, 5, b"a"), 3) else {
        panic!("not refused")
    };
    assert!(error.to_string().contains("5 descriptors; 4 are allowed"));
    assert_eq!(connection.held(), 0);
    let action = take(&mut connection, &packet(b'M', 7, b"b"), 2);
    assert!(matches!(action, Action::Nothing));
    complete(take(&mut connection, &begin(7, 1, 4, b"a"), 4));
}

#[test]
fn a_daemon_full_of_descriptors_is_busy() {
    let full = Allowance { request: 4, now: 2 };
    let packet = begin(1, 1, 3, b"x");
    let action = connection(true).take(&packet, fds(3), full, Instant::now());
    let Ok(Action::Refuse(1, Error::Refused { code, .. })) = action else {
        panic!("not refused")
    };
    assert_eq!(code, Code::Busy);
}

#[test]
fn the_unfinished_are_few_and_not_for_long() {
    let mut connection = connection(true);
    for number in 0..16 {
        take(&mut connection, &begin(number, 4, 0, b"ab"), 0);
    }
    let text = fatal(&mut connection, &begin(16, 4, 0, b"ab"), 0);
    assert!(text.contains("while 16 are incomplete"), "{text}");
    assert!(connection.tries_patience());
    assert_eq!(connection.check_patience(Instant::now()), Ok(()));
    let error = connection.check_patience(Instant::now() + PATIENCE);
    let text = error.unwrap_err().to_string();
    assert_eq!(
        text,
        "request 0 is not complete after 10 seconds: 2 of 4 bytes and 0 of 0 \
         descriptors have come"
    );
}

#[test]
fn a_client_that_says_nothing_is_given_up() {
    let connection = connection(false);
    assert_eq!(connection.check_patience(Instant::now()), Ok(()));
    let error = connection.check_patience(Instant::now() + PATIENCE);
    assert_eq!(error.unwrap_err().to_string(), "no hello within 10 seconds");
}

#[test]
fn cancelling_names_a_running_request_or_does_nothing() {
    let mut connection = connection(true);
    connection.jobs.insert(5, 50);
    let action = take(&mut connection, &packet(b'C', 5, b""), 0);
    assert!(matches!(action, Action::Cancel(50)));
    let action = take(&mut connection, &packet(b'C', 6, b""), 0);
    assert!(matches!(action, Action::Nothing));
}
