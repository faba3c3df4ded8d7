//! The tree under /dev: one file per channel, the standard streams, and the few
//! devices that programs expect anywhere.
//!
//! `/dev/stdin`, `/dev/stdout`, `/dev/stderr`, `/dev/in` and `/dev/out` always
//! exist. A channel takes precedence over a device of the same name. Nothing can
//! be added or removed by the guest.

use super::abi::{Errno, FileType};
use crate::chance::{Source, noise};
use crate::channel::{Access, Channel, Direction};

/// A file under /dev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The channel of this number, in the manifest's order.
    Channel(usize),
    /// Standard input that the job does not declare.
    Empty,
    /// Standard output that the job does not declare.
    Discard,
    /// Standard error that the job does not declare; its tail is kept.
    StderrTail,
    Null,
    Zero,
    Full,
    Random,
}

impl Device {
    /// Whether it can be read, and whether it can be written.
    pub fn directions(self, channels: &[Channel]) -> (bool, bool) {
        match self {
            Device::Channel(number) => match channels.get(number).map(Channel::direction)
            {
                Some(Direction::Read) => (true, false),
                Some(Direction::Write) => (false, true),
                None => (false, false),
            },
            Device::Empty => (true, false),
            Device::Discard | Device::StderrTail => (false, true),
            Device::Null | Device::Zero | Device::Full | Device::Random => (true, true),
        }
    }

    /// The channel, if its bytes can be reached in any order.
    pub fn random_channel(self, channels: &mut [Channel]) -> Option<&mut Channel> {
        match self {
            Device::Channel(number) => channels.get_mut(number).filter(|channel| {
                channel.access() == Access::Random && channel.size().is_some()
            }),
            _ => None,
        }
    }

    /// A regular file if it can seek, else a character device. libc takes a
    /// character device for a terminal only if it cannot seek *by its rights*,
    /// and those always include seeking here: so output is buffered fully.
    pub fn file_type(self, channels: &[Channel]) -> FileType {
        match self {
            Device::Channel(number)
                if channels.get(number).is_some_and(|channel| {
                    channel.access() == Access::Random && channel.size().is_some()
                }) =>
            {
                FileType::RegularFile
            }
            _ => FileType::CharacterDevice,
        }
    }

    pub fn size(self, channels: &[Channel]) -> u64 {
        let more = noise(Source::FileSize).map_or(0, |noise| noise % 1000);
        more + match self {
            Device::Channel(number) => channels
                .get(number)
                .and_then(Channel::size)
                .unwrap_or_default(),
            _ => 0,
        }
    }
}

/// Number of a node under /dev; 0 is /dev itself.
pub type DeviceId = u32;

#[derive(Debug)]
struct Node {
    parent: DeviceId,
    name: Box<[u8]>,
    /// `None` for a directory.
    device: Option<Device>,
    /// Sorted by name.
    children: Vec<DeviceId>,
}

#[derive(Debug)]
pub struct Devices {
    nodes: Vec<Node>,
}

impl Devices {
    /// Names the channels by their paths. A channel whose path is not below /dev,
    /// or lies under another channel, has no name and cannot be opened; whoever
    /// writes manifests is expected to refuse such paths.
    pub fn new(channels: &[Channel]) -> Self {
        let root = Node {
            parent: 0,
            name: Box::default(),
            device: None,
            children: Vec::new(),
        };
        let mut devices = Devices { nodes: vec![root] };
        for (number, channel) in channels.iter().enumerate() {
            if let Some(path) = channel.path().strip_prefix("/dev/") {
                devices.add(path.as_bytes(), Some(Device::Channel(number)));
            }
        }
        let builtin: [(&[u8], Option<Device>); 10] = [
            (b"stdin", Some(Device::Empty)),
            (b"stdout", Some(Device::Discard)),
            (b"stderr", Some(Device::StderrTail)),
            (b"null", Some(Device::Null)),
            (b"zero", Some(Device::Zero)),
            (b"full", Some(Device::Full)),
            (b"random", Some(Device::Random)),
            (b"urandom", Some(Device::Random)),
            (b"in", None),
            (b"out", None),
        ];
        for (name, device) in builtin {
            devices.add(name, device);
        }
        devices
    }

    /// Adds a file, or a directory for `None`, unless the name is taken.
    fn add(&mut self, path: &[u8], device: Option<Device>) {
        let mut at = 0;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            let leaf = if names.peek().is_none() { device } else { None };
            let children = self
                .nodes
                .get(at as usize)
                .map(|node| (node, &node.children));
            let Some((node, children)) = children else {
                return;
            };
            if node.device.is_some() || name.is_empty() || name == b"." || name == b".." {
                return;
            }
            at = match children.binary_search_by(|id| self.name(*id).cmp(name)) {
                Ok(found) => children.get(found).copied().unwrap_or_default(),
                Err(place) => {
                    let id = self.nodes.len() as DeviceId;
                    let (name, children) = (name.into(), Vec::new());
                    self.nodes.push(Node {
                        parent: at,
                        name,
                        device: leaf,
                        children,
                    });
                    if let Some(parent) = self.nodes.get_mut(at as usize) {
                        parent.children.insert(place, id);
                    }
                    id
                }
            };
        }
    }

    pub fn lookup(&self, directory: DeviceId, name: &[u8]) -> Option<DeviceId> {
        let children = self.children(directory);
        let found = children
            .binary_search_by(|id| self.name(*id).cmp(name))
            .ok()?;
        children.get(found).copied()
    }

    /// The device, or `None` for a directory.
    pub fn device(&self, id: DeviceId) -> Option<Device> {
        self.nodes.get(id as usize)?.device
    }

    /// The device called `name` directly under /dev.
    pub fn named(&self, name: &[u8]) -> Result<Device, Errno> {
        self.lookup(0, name)
            .and_then(|id| self.device(id))
            .ok_or(Errno::Noent)
    }

    /// Where a device lies; the first place if there are several.
    pub fn place_of(&self, device: Device) -> Option<DeviceId> {
        let place = self
            .nodes
            .iter()
            .position(|node| node.device == Some(device))?;
        DeviceId::try_from(place).ok()
    }

    pub fn parent(&self, id: DeviceId) -> DeviceId {
        self.nodes.get(id as usize).map_or(0, |node| node.parent)
    }

    pub fn name(&self, id: DeviceId) -> &[u8] {
        self.nodes.get(id as usize).map_or(b"", |node| &node.name)
    }

    /// What is in a directory, sorted by name.
    pub fn children(&self, id: DeviceId) -> &[DeviceId] {
        self.nodes
            .get(id as usize)
            .map_or(&[], |node| &node.children)
    }
}
