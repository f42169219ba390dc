//! enter
fn main() {}
