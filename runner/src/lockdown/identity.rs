//! A user of its own for each process that is locked down, where we may choose.
//!
//! A descriptor opened for reading is more than it seems to a process of the file's
//! owner: by it the mode, the times and the attributes (Swift's metadata) can be
//! changed, and under /proc/self/fd the file can be opened again for writing. The
//! filter of system calls denies all of that; another user is the second lock, and
//! also keeps VMs from signalling or tracing each other.
//!
//! Nothing needs root. Where zvm is started with the right to change users, each
//! process gets a user and group id of its own: the first of a range, plus its
//! process id modulo the range's size. The default range is one that no
//! distribution, container or directory service hands out, and as large as the
//! largest process id, so that no two live VMs share an id.

use std::fs::read_to_string;
use std::str::FromStr;

use rustix::process::{Gid, Uid, getpid};
use rustix::thread::{
    CapabilitySet, capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::error::Error;

/// From systemd's table of user ids: 0x70000000 and above are unused.
const FIRST: u32 = 0x7000_0000;
/// The largest process id that Linux gives out.
const COUNT: u32 = 1 << 22;
/// Ids that mean "unchanged" to the kernel, or are 16-bit names for it.
const RESERVED: [u32; 2] = [u32::MAX, 0xffff];

/// Which ids the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Our range if we may, else the user that zvm runs as.
    #[default]
    Whatever,
    /// These ids, or nothing runs.
    Range(Identity),
    /// The user that zvm runs as.
    Same,
}

/// A range of user ids, which are group ids too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    first: u32,
    count: u32,
}

impl FromStr for Wish {
    type Err = String;

    /// Parses `FIRST-LAST`, `ID` or `same`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "same" {
            return Ok(Wish::Same);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse::<u32>().ok();
        let range = number(first).zip(number(last)).filter(|(first, last)| {
            // 0 is root, which is what this is against.
            0 < *first
                && first <= last
                && !RESERVED.iter().any(|id| (first..=last).contains(&id))
        });
        let (first, last) =
            range.ok_or("user ids FIRST-LAST above 0, or the word same")?;
        let count = last - first + 1;
        Ok(Wish::Range(Identity { first, count }))
    }
}

impl std::fmt::Display for Wish {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wish::Whatever => Ok(()),
            Wish::Same => out.write_str("same"),
            Wish::Range(identity) => write!(out, "{identity}"),
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{}", self.first, self.last())
    }
}

impl Identity {
    const OURS: Identity = Identity {
        first: FIRST,
        count: COUNT,
    };

    fn last(self) -> u32 {
        self.first.saturating_add(self.count - 1)
    }

    /// Decides, before the fork, which ids processes get; none for our own.
    ///
    /// What is decided here is binding: a child that cannot take its id fails.
    ///
    /// # Errors
    ///
    /// When ids were asked for and this process may not take them.
    pub fn choose(wish: Wish) -> Result<Option<Self>, Error> {
        let (identity, asked) = match wish {
            Wish::Same => return Ok(None),
            Wish::Whatever => (Identity::OURS, false),
            Wish::Range(identity) => (identity, true),
        };
        match identity.obstacle() {
            None => Ok(Some(identity)),
            Some(_) if !asked => Ok(None),
            Some(what) => Err(Error::Failure(format!("user ids {identity}: {what}"))),
        }
    }

    /// Why this process may not take one of these ids, if so.
    fn obstacle(self) -> Option<&'static str> {
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
        if !capabilities(None).is_ok_and(|sets| sets.effective.contains(needed)) {
            return Some("only root may change its user");
        }
        let is_mapped = |file| match read_to_string(file) {
            Ok(map) => self.is_mapped_by(&map),
            // No /proc: whether they can be taken shows when they are.
            Err(_) => true,
        };
        if !is_mapped("/proc/self/uid_map") || !is_mapped("/proc/self/gid_map") {
            return Some("they are not in the user namespace that zvm runs in");
        }
        let groups = read_to_string("/proc/self/setgroups");
        if groups.is_ok_and(|text| text.trim() == "deny") {
            return Some("the user namespace forbids changing groups");
        }
        None
    }

    /// True if one line of `map` (inside, outside, count) covers all ids.
    fn is_mapped_by(self, map: &str) -> bool {
        map.lines().any(|line| {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            matches!(numbers.as_slice(), [inside, _, count]
                if *inside <= u64::from(self.first)
                    && u64::from(self.last()) < inside + count)
        })
    }

    /// Makes this process another user, without groups and without a way back.
    ///
    /// The kernel forgets the parent death signal at that.
    pub fn assume(self) -> Result<(), Error> {
        let pid = getpid().as_raw_nonzero().get().unsigned_abs();
        let id = self.first + pid % self.count;
        let failed = |call| move |errno| Error::Failure(format!("{call} {id}: {errno}"));
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        set_thread_groups(&[]).map_err(failed("setgroups"))?;
        set_thread_res_gid(gid, gid, gid).map_err(failed("setresgid"))?;
        set_thread_res_uid(uid, uid, uid).map_err(failed("setresuid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_and_shown_alike() {
        for text in ["100000-165535", "same"] {
            assert_eq!(text.parse::<Wish>().unwrap().to_string(), text);
        }
        let one = Identity { first: 7, count: 1 };
        assert_eq!("7".parse(), Ok(Wish::Range(one)));
    }

    #[test]
    fn root_reserved_and_backward_ranges_are_refused() {
        for text in [
            "0",
            "0-9",
            "9-8",
            "",
            "-1",
            "65000-66000",
            "x",
            "4294967295",
        ] {
            let error = text.parse::<Wish>().unwrap_err();
            assert!(error.contains("FIRST-LAST"), "{text}");
        }
    }

    #[test]
    fn a_range_must_be_mapped_whole() {
        let ours = Identity::OURS;
        assert!(ours.is_mapped_by("         0          0 4294967295\n"));
        assert!(!ours.is_mapped_by("0 1000 1\n1 100000 65536\n"));
        let small = Identity { first: 9, count: 2 };
        assert!(small.is_mapped_by("0 5 1\n9 100 2\n"));
        assert!(!small.is_mapped_by("0 5 1\n9 100 1\n"));
    }

    #[test]
    fn our_range_holds_an_id_for_every_process_and_no_reserved_one() {
        assert_eq!(
            Identity::OURS.to_string().parse(),
            Ok(Wish::Range(Identity::OURS))
        );
    }
}
