//! This program's own code, on huge pages.
//!
//! A process that was forked has no code mapped: each page of it costs a fault when
//! it is first run, and all of them cost when the process ends. Of a VM that lives
//! for a quarter of a millisecond that is a sixth. A huge page is one entry of a
//! table, which a fork copies.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr;

use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous,
    mprotect, mremap_fixed, munmap,
};

use super::{SysError, failed, last_error};

const PAGE: usize = 4 << 10;
const HUGE_PAGE: usize = 2 << 20;

const NO_PLACE: SysError = SysError {
    call: "move code",
    errno: Errno::NOTSUP,
};

/// Puts a copy of this program's code, which is a file's, in its place: on huge
/// pages, which this process's children share. Call it only while the process has a
/// single thread.
///
/// The code is the same at the same addresses. It can be read and run, and was
/// written to only before it was there.
///
/// # Errors
///
/// When the kernel has no huge pages to give or lets nobody make code, or the code
/// shares its huge pages with something else; then nothing has changed.
pub fn move_code_to_huge_pages() -> Result<(), SysError> {
    let code = code().ok_or(NO_PLACE)?;
    let place = code.start / HUGE_PAGE * HUGE_PAGE..code.end.next_multiple_of(HUGE_PAGE);
    // What is beside the code must be nobody's.
    let before = Reserved::at(place.start..code.start)?;
    let after = Reserved::at(code.end..place.end)?;
    let copy = Reserved::anywhere(place.len() + HUGE_PAGE)?;
    let at = copy.0.start.next_multiple_of(HUGE_PAGE);
    let target = address(at);
    // SAFETY: `target` and as many bytes as `place` has are within what was just
    // reserved for them. The source is readable, and nobody writes to it.
    unsafe {
        let writable = MprotectFlags::READ | MprotectFlags::WRITE;
        mprotect(target, place.len(), writable).map_err(failed("mprotect"))?;
        madvise(target, place.len(), Advice::LinuxHugepage).map_err(failed("madvise"))?;
        let source = ptr::with_exposed_provenance::<u8>(code.start);
        let start = target.cast::<u8>().add(code.start - place.start);
        ptr::copy_nonoverlapping(source, start, code.len());
        // Small pages would cost more than those that they are to replace.
        if libc::madvise(target, place.len(), libc::MADV_COLLAPSE) != 0 {
            return Err(last_error("madvise"));
        }
        let runnable = MprotectFlags::READ | MprotectFlags::EXEC;
        mprotect(target, place.len(), runnable).map_err(failed("mprotect"))?;
    }
    let flags = MremapFlags::MAYMOVE;
    // SAFETY: in one step, all of `place` has what it had before: code that runs on,
    // and beside it nothing that anybody uses.
    unsafe {
        mremap_fixed(
            target,
            place.len(),
            place.len(),
            flags,
            address(place.start),
        )
        .map_err(failed("mremap"))?;
    }
    before.leave();
    after.leave();
    Ok(())
}

/// The pages of this program's code: of the one segment that can be run.
fn code() -> Option<Range<usize>> {
    unsafe extern "C" fn visit(
        object: *mut libc::dl_phdr_info,
        _: libc::size_t,
        found: *mut c_void,
    ) -> libc::c_int {
        // SAFETY: the first object is this program, with as many headers as it says;
        // `found` is what is passed below.
        let (object, found) = unsafe { (&*object, &mut *found.cast::<Vec<_>>()) };
        let headers = match object.dlpi_phdr.is_null() {
            true => &[],
            // SAFETY: as above.
            false => unsafe {
                std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into())
            },
        };
        for header in headers {
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
                let start = (object.dlpi_addr + header.p_vaddr) as usize;
                found.push(start..start + header.p_memsz as usize);
            }
        }
        // The first one is enough.
        1
    }
    if cfg!(not(target_arch = "x86_64")) {
        // What was written as data would have to be made known as code.
        return None;
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: `visit` is called during this call only, with this vector.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
    match found.as_slice() {
        [code] => Some(code.start / PAGE * PAGE..code.end.next_multiple_of(PAGE)),
        _ => None,
    }
}

fn address(at: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(at)
}

/// Addresses that nobody else uses; given back when dropped.
struct Reserved(Range<usize>);

impl Reserved {
    fn at(range: Range<usize>) -> Result<Self, SysError> {
        if range.is_empty() {
            return Ok(Reserved(range));
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        Self::map(range.start, range.len(), flags)
    }

    fn anywhere(length: usize) -> Result<Self, SysError> {
        Self::map(0, length, MapFlags::PRIVATE | MapFlags::NORESERVE)
    }

    fn map(start: usize, length: usize, flags: MapFlags) -> Result<Self, SysError> {
        // SAFETY: nothing that is mapped is replaced, with either of the flags above.
        let mapped =
            unsafe { mmap_anonymous(address(start), length, ProtFlags::empty(), flags) };
        let at = mapped.map_err(failed("mmap"))?.expose_provenance();
        let reserved = Reserved(at..at + length);
        // A kernel that does not know the flag takes the address for a wish.
        match start == 0 || at == start {
            true => Ok(reserved),
            false => Err(NO_PLACE),
        }
    }

    /// Leaves the addresses to what is mapped there now.
    fn leave(mut self) {
        self.0 = 0..0;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            // SAFETY: exactly what was mapped, and what was put there in its stead.
            let _ = unsafe { munmap(address(self.0.start), self.0.len()) };
        }
    }
}
