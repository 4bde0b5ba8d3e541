//! Amounts as Click writes them: in soʻm, with or without two decimals.

/// The most soʻm of one payment. Click's own limit is not published; more could not be written in a form.
const MOST_TIYIN: i64 = 100_000_000_000_000;

/// Reads an amount in soʻm (`1000`, `1000.5`, `1000.00`) as tiyin; `None` unless it is above zero and has at most two
/// decimals.
pub(crate) fn read_tiyin(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > 2 {
        return None;
    }
    let tens = if decimals.len() == 1 { 10 } else { 1 };
    let tiyin = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(decimals.parse::<i64>().ok()? * tens)?;
    (1..=MOST_TIYIN).contains(&tiyin).then_some(tiyin)
}

/// An amount with two decimals: `1000.00`.
pub(crate) fn with_decimals(tiyin: i64) -> String {
    format!("{}.{:02}", tiyin / 100, tiyin % 100)
}

/// An amount as short as it can be: `1000`; with decimals if it has tiyin.
pub(crate) fn short(tiyin: i64) -> String {
    match tiyin % 100 {
        0 => (tiyin / 100).to_string(),
        _ => with_decimals(tiyin),
    }
}

/// An amount for people: `1 000.00`, with a no-break space between the thousands.
pub(crate) fn for_people(tiyin: i64) -> String {
    let text = with_decimals(tiyin);
    let whole = text.len().saturating_sub(3);
    let mut grouped = String::new();
    for (place, digit) in text.chars().enumerate() {
        if place > 0 && place < whole && (whole - place).is_multiple_of(3) {
            grouped.push('\u{a0}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_amount_is_read_as_it_is_written(tiyin in 1..=MOST_TIYIN) {
            prop_assert_eq!(read_tiyin(&with_decimals(tiyin)), Some(tiyin));
            prop_assert_eq!(read_tiyin(&short(tiyin)), Some(tiyin));
        }

        #[test]
        fn no_text_is_read_as_another_amount(text in "[0-9.,e+ -]{0,12}") {
            if let Some(tiyin) = read_tiyin(&text) {
                // The same digits, apart from zeros that change nothing.
                let digits = |amount: &str| {
                    let amount = if amount.contains('.') { amount.to_owned() } else { format!("{amount}.") };
                    amount.trim_matches('0').to_owned()
                };
                prop_assert_eq!(digits(&text), digits(&with_decimals(tiyin)));
            }
        }
    }

    #[test]
    fn an_amount_is_read_in_every_form_that_click_writes() {
        for (text, tiyin) in [("1000", 100_000), ("1000.00", 100_000), ("1000.5", 100_050), ("0.01", 1), ("007", 700)] {
            assert_eq!(read_tiyin(text), Some(tiyin), "{text}");
        }
        for text in ["", "0", "0.00", "-1", "+1", "1.", ".5", "1.000", "1,00", "1e3", " 1", "99999999999999999999"] {
            assert_eq!(read_tiyin(text), None, "{text}");
        }
    }

    #[test]
    fn an_amount_is_written_in_either_form() {
        assert_eq!((with_decimals(100_000), short(100_000)), ("1000.00".to_owned(), "1000".to_owned()));
        assert_eq!((with_decimals(5), short(150)), ("0.05".to_owned(), "1.50".to_owned()));
        assert_eq!(for_people(5), "0.05");
        assert_eq!(for_people(12_345_678_901), "123\u{a0}456\u{a0}789.01");
    }
}
