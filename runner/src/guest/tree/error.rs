//! Why a layer cannot be used: always names the layer, and the entry where one
//! is to blame.

use std::fmt;

/// A tar file that cannot be part of a guest's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeError {
    /// The layer's name in the manifest.
    pub layer: String,
    /// What is wrong and, where it helps, what is allowed.
    pub message: String,
}

impl TreeError {
    /// An error about `layer` as a whole.
    pub fn new(layer: &str, message: impl Into<String>) -> Self {
        TreeError {
            layer: layer.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "layer {}: {}", self.layer, self.message)
    }
}

impl std::error::Error for TreeError {}

/// An entry's name as error texts show it: shortened, control characters escaped.
pub fn shown(name: &[u8]) -> String {
    const SHOWN_BYTES: usize = 120;
    let (head, cut) = match name.get(..SHOWN_BYTES) {
        Some(head) if name.len() > SHOWN_BYTES => (head, "…"),
        _ => (name, ""),
    };
    let text: String = String::from_utf8_lossy(head)
        .chars()
        .flat_map(|char| {
            if char.is_control() {
                char.escape_default().collect()
            } else {
                vec![char]
            }
        })
        .collect();
    format!("{text}{cut}")
}
