use super::*;

use std::path::PathBuf;

/// Descriptors that the fixtures count on.
const DESCRIPTORS: usize = 8;

fn fixtures(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("manifest-")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

fn refusal(text: &[u8]) -> (Code, String) {
    match parse(text, DESCRIPTORS) {
        Err(Error::Refused { code, message }) => (code, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn valid_fixtures_are_accepted_and_come_back_the_same() {
    let valid = fixtures("tests/fixtures");
    assert!(valid.len() >= 3);
    for (name, text) in valid {
        let manifest =
            parse(&text, DESCRIPTORS).unwrap_or_else(|e| panic!("{name}: {e}"));
        let written = serde_json::to_value(&manifest).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(written, read, "{name}");
    }
}

#[test]
fn invalid_fixtures_are_refused_with_what_and_where() {
    let texts = [
        ("arg-with-nul", "/args/4 holds a NUL"),
        ("channel-direction-unknown", "unknown variant `both`"),
        (
            "channel-in-channel",
            "/channels/3/path is \"/dev/input/x\", inside of /channels/1",
        ),
        (
            "channel-outside-of-dev",
            "/channels/3/path is not a path below /dev/",
        ),
        (
            "channel-twice",
            "/channels/1/path is \"/dev/stdin\", as /channels/0 is",
        ),
        (
            "channel-with-dots",
            "/channels/3/path is not a path below /dev/",
        ),
        (
            "default-in-version-2",
            "/determinism is \"default\" in a manifest of version 2",
        ),
        ("default-with-fuel", "/limits/fuel is for strict runs only"),
        (
            "descriptor-not-given",
            "/channels/0/descriptor is 8; 8 were given",
        ),
        (
            "descriptor-of-program-written",
            "/channels/3/descriptor is 0, which /program uses",
        ),
        (
            "descriptor-read-and-written",
            "/channels/3/descriptor is 3, which /channels/1 uses",
        ),
        (
            "determinism-unknown",
            "unknown variant `loose`, expected `default` or `strict`",
        ),
        (
            "env-name-with-equals-sign",
            "/env/2/0 is empty or holds \"=\"",
        ),
        ("env-of-three", "trailing characters"),
        ("key-missing", "missing field `files`"),
        ("key-twice", "duplicate field `job`"),
        ("key-unknown", "unknown field `memroy_bytes`"),
        ("limit-negative", "invalid value: integer `-1`"),
        ("limit-not-a-number", "expected f64"),
        ("limit-of-no-time", "/limits/wall_seconds is 0; above 0"),
        (
            "limit-stack-too-large",
            "/limits/stack_bytes is 1099511627776; 65536 to 67108864",
        ),
        (
            "node-with-line-break",
            "/node is longer than 1024 bytes or holds control",
        ),
        ("not-an-object", "invalid"),
        ("not-json", "EOF"),
        ("seed-too-short", "/seed is not 64 lower-case"),
        ("sha256-in-capitals", "/program/sha256 is not 64 lower-case"),
        (
            "stdin-written",
            "/channels/0/direction does not fit /dev/stdin",
        ),
        (
            "strict-in-version-1",
            "/determinism is \"strict\" in a manifest of version 1",
        ),
        (
            "strict-with-too-much-fuel",
            "/limits/fuel is 1152921504606846977; 0 to 1152921504606846976",
        ),
        (
            "strict-without-fuel",
            "/limits/fuel is missing; a strict run has one",
        ),
        (
            "template-of-no-digest",
            "/program/template_of is not 64 lower-case",
        ),
        ("version-missing", "missing field `version`"),
        ("version-unknown", "/version is 3; this zvm knows 1 to 2"),
    ];
    let invalid = fixtures("tests/fixtures/invalid");
    let names: Vec<_> = invalid.iter().map(|(name, _)| name.as_str()).collect();
    let expected: Vec<_> = texts
        .iter()
        .map(|(name, _)| format!("manifest-{name}"))
        .collect();
    assert_eq!(names, expected);
    for ((name, text), (_, part)) in invalid.iter().zip(texts) {
        let (code, message) = refusal(text);
        assert!(message.contains(part), "{name}: {message}");
        let unknown_version = name == "manifest-version-unknown";
        let expected = if unknown_version {
            Code::UnknownVersion
        } else {
            Code::BadManifest
        };
        assert_eq!(code, expected, "{name}");
    }
}

#[test]
fn limits_are_accepted_at_their_ends_and_refused_beyond() {
    let limits = Limits::default();
    let check = |limits: Limits| limits.check().is_ok();
    assert!(check(limits));
    assert!(check(Limits {
        memory_bytes: 4 << 30,
        ..limits
    }));
    assert!(!check(Limits {
        memory_bytes: (4 << 30) + 1,
        ..limits
    }));
    assert!(check(Limits {
        stack_bytes: 64 << 10,
        ..limits
    }));
    assert!(!check(Limits {
        stack_bytes: (64 << 10) - 1,
        ..limits
    }));
    assert!(!check(Limits {
        wall_seconds: f64::NAN,
        ..limits
    }));
    assert!(!check(Limits {
        cpu_seconds: f64::INFINITY,
        ..limits
    }));
    assert!(!check(Limits {
        cpu_seconds: -1.0,
        ..limits
    }));
}

#[test]
fn digests_are_lower_case_and_whole() {
    let digest = parse_digest(&"0f".repeat(32)).unwrap();
    assert_eq!(digest, [0x0f; 32]);
    assert_eq!(hex(&digest), "0f".repeat(32));
    for bad in [
        "",
        "0f",
        &"0F".repeat(32),
        &"0g".repeat(32),
        &"0f".repeat(33),
        &"é".repeat(32),
    ] {
        assert_eq!(parse_digest(bad), None, "{bad}");
    }
}

#[test]
fn seconds_are_read_as_they_were_written() {
    let text = include_str!("../../tests/fixtures/manifest-minimal.json");
    let mut document: serde_json::Value = serde_json::from_str(text).unwrap();
    // The shortest text of this number; a quick reading of it is one bit off, and
    // with it the receipt.
    let seconds = 30.555555555555543_f64;
    document["limits"]["wall_seconds"] = serde_json::json!(seconds);
    let manifest = parse(document.to_string().as_bytes(), DESCRIPTORS).unwrap();
    assert_eq!(manifest.limits.wall_seconds.to_bits(), seconds.to_bits());
}
