//! Which layers are on: all of them, in every build that runs strangers' code.
//!
//! To see that a layer holds, the ones before it must be away. Only a build with
//! the feature `planted-holes`, which does not compile without debug assertions,
//! reads `ZVM_LAYERS`: the names of the layers to keep, with commas.

/// One layer of the lock-down, in the order in which they are entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layer {
    Descriptors,
    Rlimits,
    Identity,
    Privileges,
    Landlock,
    Seccomp,
}

/// A set of layers.
#[derive(Clone, Copy, Debug)]
pub struct Layers(u8);

impl Layers {
    const ALL: Layers = Layers(u8::MAX);

    #[cfg(not(feature = "planted-holes"))]
    pub fn of_this_build() -> Self {
        Layers::ALL
    }

    /// Those that `ZVM_LAYERS` names; all if it is not set.
    #[cfg(feature = "planted-holes")]
    pub fn of_this_build() -> Self {
        let Ok(names) = std::env::var(crate::sys::holes::LAYERS) else {
            return Layers::ALL;
        };
        let named = |layer: &Layer| {
            let name = format!("{layer:?}").to_lowercase();
            names.split(',').any(|word| word == name)
        };
        let chosen = Layer::ALL.into_iter().filter(named);
        Layers(chosen.fold(0, |set, layer| set | 1 << layer as u8))
    }

    pub fn has(self, layer: Layer) -> bool {
        self.0 >> layer as u8 & 1 == 1
    }
}

/// The environment of our own processes: nothing, but what a test sets.
pub fn variables() -> Vec<(String, String)> {
    let names: &[&str] = &[
        #[cfg(feature = "planted-holes")]
        crate::sys::holes::LAYERS,
        #[cfg(feature = "planted-chance")]
        crate::chance::VARIABLE,
        #[cfg(feature = "planted-chance")]
        crate::engine::VARIABLE,
    ];
    let set = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?));
    names.iter().filter_map(set).collect()
}

#[cfg(feature = "planted-holes")]
impl Layer {
    pub const ALL: [Layer; 6] = [
        Layer::Descriptors,
        Layer::Rlimits,
        Layer::Identity,
        Layer::Privileges,
        Layer::Landlock,
        Layer::Seccomp,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layers_are_on_unless_a_test_says_otherwise() {
        let layers = Layers::of_this_build();
        for layer in [
            Layer::Descriptors,
            Layer::Rlimits,
            Layer::Identity,
            Layer::Privileges,
            Layer::Landlock,
            Layer::Seccomp,
        ] {
            assert!(layers.has(layer), "{layer:?}");
        }
    }
}
