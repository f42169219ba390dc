//! The system calls of the caller's side.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

fn check(answer: i32) -> io::Result<i32> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn owned(answer: i32) -> io::Result<OwnedFd> {
    // SAFETY: a system call that answers with a descriptor has made it for us alone.
    check(answer).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(i32::try_from(answer).unwrap_or(-1))
}

/// A memfd with this content. Executable ones can be sealed against everything.
pub(crate) fn memfd(name: &CStr, content: &[u8], seal: Seal) -> io::Result<OwnedFd> {
    let flags = match seal {
        Seal::Nothing => libc::MFD_CLOEXEC | MFD_NOEXEC_SEAL,
        Seal::Everything => libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | MFD_EXEC,
    };
    let fd = match memfd_create(name, flags) {
        // Kernels before 6.3 do not know the flags about execution; theirs are executable.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => memfd_create(name, flags & !(MFD_EXEC | MFD_NOEXEC_SEAL))?,
        made => made?,
    };
    let mut file = std::fs::File::from(fd);
    io::Write::write_all(&mut file, content)?;
    let fd = OwnedFd::from(file);
    if matches!(seal, Seal::Everything) {
        let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
        add_seals(&fd, seals | F_SEAL_EXEC).or_else(|_older_kernel| add_seals(&fd, seals))?;
    }
    Ok(fd)
}

/// Whether a memfd may still change.
#[derive(Clone, Copy)]
pub(crate) enum Seal {
    Nothing,
    Everything,
}

const MFD_NOEXEC_SEAL: u32 = 8;
const MFD_EXEC: u32 = 0x10;
const F_SEAL_EXEC: i32 = 0x20;

fn memfd_create(name: &CStr, flags: u32) -> io::Result<OwnedFd> {
    // SAFETY: `name` ends in NUL and lives through the call.
    owned(unsafe { libc::memfd_create(name.as_ptr(), flags) })
}

fn add_seals(fd: &OwnedFd, seals: i32) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(|_| ())
}

/// A pipe, both ends close-on-exec: to read, to write.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [read, write] = ends;
    Ok((owned(read)?, owned(write)?))
}

/// A duplicate at `lowest` or above, close-on-exec.
pub(crate) fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    owned(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })
}

/// posix_spawn(3) of `program` with an empty environment, no signal blocked or ignored, and exactly these descriptors: each pair
/// is (ours, its number there). Close-on-exec closes all others. The numbers of ours must not be among those there.
pub(crate) fn spawn(program: &CStr, argv: &[CString], descriptors: &[(RawFd, RawFd)]) -> io::Result<u32> {
    let mut actions = FileActions::new()?;
    for (ours, there) in descriptors {
        actions.duplicate(*ours, *there)?;
    }
    let attributes = Attributes::new()?;
    let mut argv: Vec<*mut libc::c_char> = argv.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    argv.push(std::ptr::null_mut());
    let environment = [std::ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: both arrays end in null, their strings in NUL, and all live through the call, as do actions and attributes.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            environment.as_ptr(),
        )
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    Ok(pid.cast_unsigned())
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = std::mem::MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        positive(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: just initialised.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn duplicate(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: initialised by `new`.
        positive(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// All signals at their defaults and none blocked: what a container's process inherits.
    fn new() -> io::Result<Self> {
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        positive(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: just initialised.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let (all, none) = (signal_set(SignalSet::All), signal_set(SignalSet::None));
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        // SAFETY: the attributes are initialised, the set too.
        positive(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, &raw const all) })?;
        // SAFETY: as above.
        positive(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, &raw const none) })?;
        let flags = i16::try_from(flags).unwrap_or_default();
        // SAFETY: the attributes are initialised.
        positive(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

enum SignalSet {
    All,
    None,
}

fn signal_set(which: SignalSet) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    let fill = match which {
        SignalSet::All => libc::sigfillset,
        SignalSet::None => libc::sigemptyset,
    };
    // SAFETY: initialises what it is given.
    unsafe { fill(set.as_mut_ptr()) };
    // SAFETY: just initialised.
    unsafe { set.assume_init() }
}

/// The convention of the posix_spawn family: an error number, or 0.
fn positive(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
