//! The number of descriptors, then a manifest's text.

use super::script::Script;
use crate::error::{Code, Error};
use crate::manifest::{self, Manifest};

/// The text is refused with its reason, or becomes a manifest that keeps what
/// [`manifest::parse`] promises and comes back the same once it is written again.
pub fn manifest(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let descriptors = usize::from(script.byte());
    let text = script.rest();
    match manifest::parse(text, descriptors) {
        Ok(manifest) => check(&manifest, descriptors),
        Err(Error::Refused { code, message }) => {
            assert!(matches!(code, Code::BadManifest | Code::UnknownVersion));
            assert!(message.starts_with("manifest: "), "{message}");
        }
        Err(Error::Failure(message)) => panic!("a failure of ours: {message}"),
    }
}

fn check(manifest: &Manifest, descriptors: usize) {
    assert_eq!(manifest.version, manifest::version_of(manifest.determinism));
    let strict = manifest.determinism.is_strict();
    assert_eq!(manifest.limits.fuel.is_some(), strict);
    assert!(manifest.seed_bytes().is_some());
    assert!(manifest.descriptors().all(|number| number < descriptors));
    for channel in &manifest.channels {
        assert!(channel.path.starts_with("/dev/"), "{}", channel.path);
        assert!(!channel.path.contains("//") && !channel.path.contains('\0'));
        let uses = manifest
            .descriptors()
            .filter(|number| *number == channel.descriptor);
        let writes = channel.direction == crate::channel::Direction::Write;
        assert!(uses.count() == 1 || !writes, "{}", channel.path);
    }
    let words = manifest.env.iter().flat_map(|(name, value)| [name, value]);
    assert!(words.chain(&manifest.args).all(|word| !word.contains('\0')));
    assert!(manifest.limits.wall_seconds > 0.0 && manifest.limits.cpu_seconds > 0.0);
    let again = serde_json::to_vec(manifest).unwrap();
    let read = manifest::parse(&again, descriptors).unwrap();
    assert_eq!(serde_json::to_vec(&read).unwrap(), again);
}
