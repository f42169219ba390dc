//! Pressure stall information of a cgroup (the kernel's Documentation/accounting/psi.rst).

use std::path::Path;

use serde::Serialize;

/// Of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Pressure {
    /// At least one process waited.
    some: Stalls,
    /// All did.
    full: Stalls,
}

/// Shares of time in per cent, and all of it in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Stalls {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total: u64,
}

impl Pressure {
    /// Of a `*.pressure` file; none where the kernel does not keep it.
    pub(crate) fn read(file: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(file).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let line = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind)).map(Stalls::parse);
        Some(Self { some: line("some ")?, full: line("full ").unwrap_or_default() })
    }
}

impl Stalls {
    fn parse(line: &str) -> Self {
        let mut stalls = Self::default();
        for (key, value) in line.split(' ').filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => stalls.avg10 = value.parse().unwrap_or_default(),
                "avg60" => stalls.avg60 = value.parse().unwrap_or_default(),
                "avg300" => stalls.avg300 = value.parse().unwrap_or_default(),
                "total" => stalls.total = value.parse().unwrap_or_default(),
                _newer => {}
            }
        }
        stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.25 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let pressure = Pressure::parse(text).unwrap();
        assert_eq!(pressure.some, Stalls { avg10: 1.5, avg60: 0.0, avg300: 0.25, total: 12 });
        assert_eq!(pressure.full.total, 7);
        assert_eq!(Pressure::parse(""), None);
    }
}
