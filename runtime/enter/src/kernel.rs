//! System calls, bare: the result is negative with the error number in it. Nothing here touches `errno`, because two processes
//! of this program may share one thread-local storage.

use core::arch::asm;

/// A result below zero is `-errno`.
pub(crate) type Answer = isize;

#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn syscall(number: i64, a: [usize; 6]) -> Answer {
    let answer: isize;
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

#[cfg(target_arch = "aarch64")]
pub(crate) unsafe fn syscall(number: i64, a: [usize; 6]) -> Answer {
    let answer: isize;
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a[0] => answer, in("x1") a[1], in("x2") a[2], in("x3") a[3],
            in("x4") a[4], in("x5") a[5], options(nostack));
    }
    answer
}

/// Arguments of a call, the absent ones 0.
pub(crate) fn padded<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut arguments = [0; 6];
    arguments[..N].copy_from_slice(&given);
    arguments
}

/// `call!(NUMBER, arguments…)` with whatever integers and pointers.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {
        unsafe { $crate::kernel::syscall($number, $crate::kernel::padded([$($argument as usize),*])) }
    };
}
pub(crate) use call;

/// `struct clone_args` (clone(2)).
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

/// clone3(2) of a child that runs `child(argument)` on the stack in `args` and never returns. The answer is the parent's.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn clone3(args: &CloneArgs, child: extern "C" fn(usize) -> !, argument: usize) -> Answer {
    let answer: isize;
    unsafe {
        asm!("syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r13", "call r12", "ud2", "2:",
            inlateout("rax") libc::SYS_clone3 as isize => answer, in("rdi") core::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(), in("r12") child, in("r13") argument, lateout("rcx") _, lateout("r11") _);
    }
    answer
}

/// clone3(2) of a child that runs `child(argument)` on the stack in `args` and never returns. The answer is the parent's.
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe fn clone3(args: &CloneArgs, child: extern "C" fn(usize) -> !, argument: usize) -> Answer {
    let answer: isize;
    unsafe {
        asm!("svc 0", "cbnz x0, 2f", "mov x29, xzr", "mov x0, x21", "blr x20", "brk 1", "2:",
            in("x8") libc::SYS_clone3, inlateout("x0") core::ptr::from_ref(args) => answer,
            in("x1") size_of::<CloneArgs>(), in("x20") child, in("x21") argument);
    }
    answer
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        call!(libc::SYS_exit_group, code);
    }
}

/// The whole of `bytes` in one write.
pub(crate) fn write(fd: i32, bytes: &[u8]) -> Answer {
    call!(libc::SYS_write, fd, bytes.as_ptr(), bytes.len())
}

/// prctl(2).
pub(crate) fn prctl(option: i32, a: usize, b: usize) -> Answer {
    call!(libc::SYS_prctl, option, a, b, 0, 0)
}
