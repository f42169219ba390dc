//! Numbers of cgroup v1, in which specifications are written, as those of cgroup v2: the formulas of runc 1.1 and crun,
//! which the kubelet uses too.

/// `cpu.shares` (2 to 262144, 1024 by default) as `cpu.weight` (1 to 10000, 100 by default).
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1_000)) - 10) * 9_999 / 990
}

/// `memory.swap` of a specification counts memory and swap together, `memory.swap.max` swap alone. None: leave it.
pub(super) fn swap_alone(swap: i64, memory: i64) -> Result<Option<String>, String> {
    match (swap, memory) {
        // Unlimited memory, and nothing said about swap: the same for swap, as on v1.
        (0, -1) | (-1, _) => Ok(Some("max".to_owned())),
        (0, _) => Ok(None),
        (swap, _) if swap < 0 => Err(format!("{swap} is neither a number of bytes nor -1")),
        (_, 0 | -1) => Err("memory and swap together cannot be limited without memory.limit on cgroup v2".to_owned()),
        (swap, memory) if swap < memory => Err(format!("{swap} is less than memory.limit {memory}: it counts both together")),
        (swap, memory) => Ok(Some((swap - memory).to_string())),
    }
}

/// A number of bytes, or "max".
pub(super) fn bytes_or_max(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}
