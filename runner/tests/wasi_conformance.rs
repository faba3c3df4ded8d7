//! WASI preview 1, case by case: what its public test suite looks at, and what else
//! docs/wasi.md promises.
//!
//! The cases are functions of the guests `wasi_p1_*`, which call WASI below libc;
//! each runs in a VM of its own. The last tests hold the document to what there is:
//! each function of preview 1 has its line, and each case that a line names exists.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use support::{Session, assert_outcome, outcome};
use zvm::guest::wasi::FUNCTIONS;

const DOCUMENT: &str = "../docs/wasi.md";

/// A session of a case, with what the cases may look at.
fn session(guest: &str, case: &str) -> Session {
    let mut session = Session::new(guest).args(&[case]).layer(&layer());
    session.manifest["args"][0] = json!("name");
    session =
        session
            .limit("files", json!(1100))
            .output("/dev/stdout", "sequential", 1 << 20);
    match case {
        "args" => session.args(&[case, "a b c"]),
        "environ" => {
            session.manifest["env"] = json!([["a", "text"], ["b", "x = y"]]);
            session
        }
        "streams" | "streams_can_go" => {
            session.input("/dev/stdin", "sequential", b"stdin\n")
        }
        _ => session,
    }
}

/// An image with /etc/motd and a link to it.
fn layer() -> std::path::PathBuf {
    let path = support::folder("layer").join("layer.tar");
    let mut tar = Vec::new();
    for (name, kind, link, content) in [
        ("etc/motd", b'0', "", "hello\n"),
        ("etc/link", b'2', "motd", ""),
    ] {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        let size = format!("{:011o}", content.len());
        header[124..135].copy_from_slice(size.as_bytes());
        header[136..147].copy_from_slice(b"00000000021");
        header[148..156].copy_from_slice(b"        ");
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        tar.extend(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    std::fs::write(&path, tar).unwrap();
    path
}

fn printed(session: &Session) -> (Value, String) {
    let report = session.run();
    let printed = String::from_utf8(session.content("/dev/stdout")).unwrap();
    (report, printed)
}

/// Runs a case, which prints how many checks it has made.
fn assert_holds(guest: &str, case: &str) {
    let (report, printed) = printed(&session(guest, case));
    assert_eq!(
        outcome(&report),
        ("exit".into(), "0".into()),
        "{printed}\n{report:#}"
    );
    let counted = printed
        .strip_prefix(&format!("ok {case}: "))
        .and_then(|rest| rest.strip_suffix(" checks\n"));
    let counted: u32 = counted
        .unwrap_or_else(|| panic!("{printed}"))
        .parse()
        .unwrap();
    assert!(counted > 0, "{printed}");
}

/// Declares the cases of a guest: a test for each, and their list.
macro_rules! cases {
    ($guest:ident: $($case:ident)*) => {
        mod $guest {
            pub const CASES: &[&str] = &[$(stringify!($case)),*];
            $(
                #[test]
                fn $case() {
                    super::assert_holds(stringify!($guest), stringify!($case));
                }
            )*
        }
    };
}

cases! { wasi_p1_process:
    args environ environ_empty clock_resolution clock_time random_bytes yield_ signals
    sockets poll_clock poll_streams poll_nonsense streams streams_can_go
}

cases! { wasi_p1_files:
    preopened close_preopened overwrite_preopened renumber closed_descriptors append
    give_up_rights truncation_rights on_a_folder advise allocate seek_and_tell
    at_a_place seen_at_once size times without_a_name
}

cases! { wasi_p1_paths:
    create_directory interesting_paths outside_of_the_folder open_missing open_existing
    open_at_a_file open_lots open_flags open_the_root open_for_reading_or_writing
    rights_are_inherited filestat rename rename_with_slashes remove_directory
    unlink_file readdir readdir_lots read_only_tree
}

cases! { wasi_p1_links:
    hard_links hard_links_to_symbolic_links symlink_create symlink_with_slashes
    symlink_loop symlink_filestat dangling_symlink nofollow readlink
}

/// The guests and the cases that are run of them.
const GUESTS: [(&str, &[&str], &[&str]); 4] = [
    ("wasi_p1_process", wasi_p1_process::CASES, &["leave"]),
    ("wasi_p1_files", wasi_p1_files::CASES, &[]),
    ("wasi_p1_paths", wasi_p1_paths::CASES, &[]),
    ("wasi_p1_links", wasi_p1_links::CASES, &[]),
];

#[test]
fn leaving_by_proc_exit_gives_its_code() {
    let (report, printed) = printed(&session("wasi_p1_process", "leave"));
    assert_outcome(&report, "exit", "33");
    // What libc had buffered is lost: it was not asked to leave.
    assert_eq!(printed, "");
}

#[test]
fn a_case_whose_check_fails_is_seen() {
    // Without the layer that it looks for.
    let session = Session::new("wasi_p1_paths")
        .args(&["read_only_tree"])
        .output("/dev/stdout", "sequential", 1 << 20);
    let (report, printed) = printed(&session);
    assert_outcome(&report, "exit", "1");
    assert!(printed.starts_with("FAILED line "), "{printed}");
}

#[test]
fn every_case_that_a_guest_has_is_run() {
    for (guest, cases, others) in GUESTS {
        let session = Session::new(guest).output("/dev/stdout", "sequential", 1 << 20);
        let (_, listed) = printed(&session);
        let listed: BTreeSet<&str> = listed.lines().collect();
        let run: BTreeSet<&str> = cases.iter().chain(others).copied().collect();
        assert_eq!(listed, run, "{guest}");
    }
}

/// The rows of the document's table of functions: name, behaviour, cases.
fn rows() -> Vec<[String; 3]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"))
        .filter_map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            let [name, what, cases] = cells[..] else {
                return None;
            };
            let name = name.strip_suffix('`')?;
            Some([name, what, cases].map(str::to_owned))
        })
        .collect()
}

#[test]
fn every_function_has_its_line_in_the_document() {
    let named: Vec<String> = rows().into_iter().map(|[name, ..]| name).collect();
    let mut wanted: Vec<String> = FUNCTIONS.iter().map(|name| name.to_string()).collect();
    wanted.sort();
    let mut sorted = named.clone();
    sorted.sort();
    assert_eq!(sorted, wanted);
    assert_eq!(named.len(), 46);
}

#[test]
fn every_case_is_named_in_the_document_and_exists() {
    let all: BTreeSet<String> = GUESTS
        .iter()
        .flat_map(|(_, cases, others)| cases.iter().chain(*others))
        .map(|case| case.to_string())
        .collect();
    let mut named = BTreeSet::new();
    for [name, what, cases] in rows() {
        assert!(!what.is_empty(), "{name}");
        let words: Vec<String> = cases.split(", ").map(str::to_owned).collect();
        for case in &words {
            assert!(all.contains(case), "{name} names the case {case:?}");
        }
        named.extend(words);
    }
    assert_eq!(named, all);
}
