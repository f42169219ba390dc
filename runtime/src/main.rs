//! hshim
fn main() {
    use libcontainer::container::builder::ContainerBuilder;
    use libcontainer::syscall::syscall::SyscallType;
    let b = ContainerBuilder::new("x".to_owned(), SyscallType::default())
        .with_root_path("/run/x")
        .unwrap()
        .as_init("/tmp/b")
        .with_systemd(false)
        .build();
    println!("{}", b.is_ok());
}
/// Debian's libseccomp.a is built with glibc's fortify; musl lacks this one symbol, used only by the filter's text export.
#[cfg(target_env = "musl")]
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn __fprintf_chk() -> i32 {
    0
}
