//! Amounts in Click's calls: decimal soʻm, in a format that is not fixed.

/// An amount as a call writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrittenAmount {
    /// Whole tiyin.
    Tiyin(i64),
    /// A number, yet not a whole number of tiyin that fits: the amount of no order.
    OfNoOrder,
}

/// Reads decimal soʻm: `1000`, `1000.5`, `1000.00`, and with further zeros, but no exponent. No float is between, so no digit
/// changes. `None` where it is no number.
///
/// A zero in front makes it the amount of no order: the signature has no separators, so order `10` with `50.00` could be sent again
/// as order `1` with `050.00`.
pub(super) fn read(text: &str) -> Option<WrittenAmount> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let (cents, rest) = fraction.split_at(fraction.len().min(2));
    let tiyin = format!("{whole}{cents:0<2}").parse().ok();
    let has_zero_in_front = whole.len() > 1 && whole.starts_with('0');
    let is_whole = !has_zero_in_front && rest.bytes().all(|byte| byte == b'0') && !text.starts_with('-');
    Some(tiyin.filter(|_| is_whole).map_or(WrittenAmount::OfNoOrder, WrittenAmount::Tiyin))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_may_have_no_one_or_two_decimals() {
        for (text, expected) in [
            ("1000", Some(WrittenAmount::Tiyin(100_000))),
            ("1000.0", Some(WrittenAmount::Tiyin(100_000))),
            ("1000.00", Some(WrittenAmount::Tiyin(100_000))),
            ("1000.5", Some(WrittenAmount::Tiyin(100_050))),
            ("1000.05", Some(WrittenAmount::Tiyin(100_005))),
            ("1000.0500", Some(WrittenAmount::Tiyin(100_005))),
            ("0.29", Some(WrittenAmount::Tiyin(29))),
            ("1000.001", Some(WrittenAmount::OfNoOrder)),
            ("01000", Some(WrittenAmount::OfNoOrder)),
            ("00", Some(WrittenAmount::OfNoOrder)),
            ("-1000", Some(WrittenAmount::OfNoOrder)),
            ("99999999999999999999", Some(WrittenAmount::OfNoOrder)),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1,000", None),
            ("1e3", None),
            ("+5", None),
            (" 5", None),
            ("٥", None),
            ("NaN", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_is_read_back_as_it_was_written(tiyin in 0..=1_000_000_000_000_i64) {
            prop_assert_eq!(read(&domain::money::som(tiyin)), Some(WrittenAmount::Tiyin(tiyin)));
        }
    }
}
