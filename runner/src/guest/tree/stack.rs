//! Layers that lie over each other, with the index of them all.
//!
//! A stack never changes, so that many trees can share one: what is the same for
//! every VM of an image is indexed once, before it is known what a VM will lay
//! over it.

use std::rc::Rc;

use super::builder::Builder;
use super::children::Children;
use super::index::{Content, Index, NO_LAYER, RESERVED, ROOT, hash};
use super::{TarLayer, TreeError};

/// Indexed layers.
pub struct Stack {
    /// From the lowest up.
    pub(super) layers: Vec<Rc<TarLayer>>,
    pub(super) index: Index,
    /// Sorted lists of all directories, if they were made.
    pub(super) lists: Option<Children>,
}

impl Stack {
    /// Indexes `layers`, topmost first.
    ///
    /// Fails when a layer is not a tar, or holds what a tree cannot.
    pub fn new(layers: Vec<TarLayer>) -> Result<Self, TreeError> {
        let mut index = Index::new();
        let (dev, tmp) = RESERVED.split_at(3);
        for name in [dev, tmp] {
            Builder::new(&mut index, &[], NO_LAYER)
                .insert(ROOT, name, hash(ROOT, name), Content::Directory, None)
                .map_err(|message| TreeError::new("", message))?;
        }
        Stack::add(Vec::new(), index, layers)
    }

    /// A stack with `layers`, topmost first, over those of `base`.
    pub fn over(base: &Stack, layers: Vec<TarLayer>) -> Result<Self, TreeError> {
        Stack::add(base.layers.clone(), base.index.clone(), layers)
    }

    /// Makes the lists of all directories now, for every tree of this stack alone.
    pub fn list(&mut self) {
        let mut lists = Children::group(&self.index);
        lists.sort_all(|id| self.index.name(&self.layers, id));
        self.lists = Some(lists);
    }

    fn add(
        mut layers: Vec<Rc<TarLayer>>,
        mut index: Index,
        new: Vec<TarLayer>,
    ) -> Result<Self, TreeError> {
        let first = layers.len();
        layers.extend(new.into_iter().rev().map(Rc::new));
        for (number, layer) in layers.iter().enumerate().skip(first) {
            let number = u32::try_from(number).unwrap_or(NO_LAYER);
            Builder::new(&mut index, &layers, number)
                .add_all(layer)
                .map_err(|message| TreeError::new(layer.name(), message))?;
        }
        let added = layers.iter_mut().skip(first);
        added.filter_map(Rc::get_mut).for_each(TarLayer::close_file);
        Ok(Stack {
            layers,
            index,
            lists: None,
        })
    }
}
