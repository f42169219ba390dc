//! The description as the program sees it: mapped, checked, its slots turned into pointers.

use core::ffi::CStr;

use crate::kernel::call;
use crate::wire::{Header, MAGIC, Rlimit, VERSION};

/// The mapped description.
pub(crate) struct Block {
    base: *mut u8,
    first_fd: u32,
}

impl Block {
    /// Map the description whose descriptor is `first_fd`, privately; none if it is not one.
    pub(crate) fn map(first_fd: u32) -> Option<Self> {
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        if call!(libc::SYS_fstat, first_fd, core::ptr::from_mut(&mut stat)) < 0 {
            return None;
        }
        let length = stat.st_size as usize;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let base = call!(libc::SYS_mmap, 0, length, protection, libc::MAP_PRIVATE, first_fd, 0);
        if base < 0 || length < size_of::<Header>() {
            return None;
        }
        let block = Self { base: base as *mut u8, first_fd };
        let header = block.header();
        if header.magic != MAGIC || header.version != VERSION || header.length as usize != length {
            return None;
        }
        block.point(header.argv_at, header.argc);
        block.point(header.envp_at, header.envc);
        Some(block)
    }

    /// Turn offsets into pointers.
    fn point(&self, slots_at: u32, count: u32) {
        for n in 0..count as usize {
            let slot = unsafe { self.base.add(slots_at as usize).cast::<u64>().add(n) };
            unsafe { *slot += self.base as u64 };
        }
    }

    pub(crate) fn header(&self) -> &Header {
        unsafe { &*self.base.cast::<Header>() }
    }

    /// Number of one of the descriptors of [`crate::wire::fd`].
    pub(crate) fn fd(&self, which: u32) -> i32 {
        (self.first_fd + which) as i32
    }

    pub(crate) fn at(&self, offset: u32) -> *const u8 {
        unsafe { self.base.add(offset as usize) }
    }

    pub(crate) fn string(&self, offset: u32) -> Option<&CStr> {
        if offset == 0 { None } else { Some(unsafe { CStr::from_ptr(self.at(offset).cast()) }) }
    }

    pub(crate) fn argument(&self, n: usize) -> Option<&CStr> {
        if n >= self.header().argc as usize {
            return None;
        }
        let slot = unsafe { self.at(self.header().argv_at).cast::<*const libc::c_char>().add(n) };
        Some(unsafe { CStr::from_ptr(*slot) })
    }

    pub(crate) fn rlimits(&self) -> &[Rlimit] {
        let header = self.header();
        unsafe { core::slice::from_raw_parts(self.at(header.rlimits_at).cast(), header.rlimits as usize) }
    }
}
