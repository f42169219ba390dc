//! Signals by name or number, as kill(1) takes them.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// The number of a signal that was written as `KILL`, `SIGKILL`, `kill`, `9`, `RTMIN+3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignalNumber(pub(crate) i32);

/// First real-time signal of the kernel (signal(7)).
const RTMIN: i32 = 34;
/// Last one.
const RTMAX: i32 = 64;

/// A word that is no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown signal {0:?}")]
pub(crate) struct UnknownSignal(String);

impl FromStr for SignalNumber {
    type Err = UnknownSignal;

    fn from_str(word: &str) -> Result<Self, UnknownSignal> {
        let upper = word.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let real_time = |offset: &str, from: i32| offset.parse::<i32>().ok().and_then(|offset| from.checked_add(offset));
        let number = if let Ok(number) = word.parse::<i32>() {
            Some(number)
        } else if let Some(offset) = name.strip_prefix("RTMIN") {
            if offset.is_empty() { Some(RTMIN) } else { real_time(offset, RTMIN) }
        } else if let Some(offset) = name.strip_prefix("RTMAX") {
            if offset.is_empty() { Some(RTMAX) } else { real_time(offset, RTMAX) }
        } else {
            Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)
        };
        number.filter(|number| (0..=RTMAX).contains(number)).map(Self).ok_or_else(|| UnknownSignal(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (word, number) in
            [("KILL", 9), ("SIGKILL", 9), ("term", 15), ("SigHup", 1), ("10", 10), ("0", 0), ("RTMIN+1", 35), ("SIGRTMAX", 64)]
        {
            assert_eq!(word.parse(), Ok(SignalNumber(number)), "{word}");
        }
        for word in ["FOO", "", "SIG", "65", "-1", "RTMIN+99"] {
            assert!(word.parse::<SignalNumber>().is_err(), "{word}");
        }
    }
}
