//! Sets of small numbers as the kernel and the specification write them: `0-3,7`.

/// The largest number that is taken: what the C library's own set of processors holds.
const LARGEST: usize = 1023;

/// Reads a list into a bit mask of whole longs, without a zero long at its end.
pub(crate) fn bit_mask(list: &str) -> anyhow::Result<Vec<u8>> {
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let number = text.trim().parse::<usize>().ok().filter(|number| *number <= LARGEST);
            number.ok_or_else(|| anyhow::anyhow!("{part:?} is no number or range of numbers up to {LARGEST}"))
        };
        let (first, last) = (number(first)?, number(last)?);
        anyhow::ensure!(first <= last, "{part:?} is a range that ends before it begins");
        for number in first..=last {
            set(&mut mask, number);
        }
    }
    Ok(mask)
}

fn set(mask: &mut Vec<u8>, number: usize) {
    let byte = number / 8;
    if mask.len() <= byte {
        mask.resize((byte + 1).next_multiple_of(size_of::<libc::c_ulong>()), 0);
    }
    if let Some(byte) = mask.get_mut(byte) {
        *byte |= 1 << (number % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_a_mask_of_whole_longs() {
        for (list, mask) in [
            ("", vec![]),
            ("0", vec![1, 0, 0, 0, 0, 0, 0, 0]),
            ("0-2,7", vec![0x87, 0, 0, 0, 0, 0, 0, 0]),
            (" 1 , 9 ", vec![2, 2, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(bit_mask(list).unwrap(), mask, "{list:?}");
        }
        let wide = bit_mask("64").unwrap();
        assert_eq!((wide.len(), wide[8]), (16, 1));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in ["x", "-1", "3-1", "1024", "0-99999999999", "1-2-3", "0x1"] {
            assert!(bit_mask(wrong).is_err(), "{wrong}");
        }
    }
}
