//! Numbers with units, as runc's flags take them.

use std::time::Duration;

/// Bytes with a binary unit: `512m`, `1.5GiB`, `4096`; `-1` is a value of its own.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("{text:?} is not a number of bytes (4096, 512m, 1.5GiB, -1)");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if !unit.ends_with("ib") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    if power == 0 {
        return number.parse().map_err(|_not_whole| wrong());
    }
    let factor = 1024_f64.powi(power);
    let bytes = number.parse::<f64>().map_err(|_not_a_number| wrong())? * factor;
    #[allow(clippy::cast_possible_truncation, reason = "less than the largest i64, and fractions of a byte are dropped")]
    let whole = bytes as i64;
    if bytes < 9.2e18 { Ok(whole) } else { Err(wrong()) }
}

/// Go's durations: `5s`, `500ms`, `1m30s`, `1.5h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration (500ms, 5s, 1m30s)");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(wrong()),
        };
        let number = number.parse::<f64>().map_err(|_not_a_number| wrong())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_too_long| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_binary_units() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("10b", 10), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("2 kB", 2048), ("-1", -1)]
        {
            assert_eq!(super::bytes(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "m", "1.5", "-2", "5x", "5ib", "99999999p"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, milliseconds) in [("5s", 5_000), ("1m30s", 90_000), ("500ms", 500), ("1.5h", 5_400_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "5", "s", "5 s", "-5s", "1d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
