//! Amounts for people.

/// An amount as people here write it: `50 000.00`, with a no-break space between the thousands.
pub(crate) fn soum(amount_tiyin: i64) -> String {
    let whole = (amount_tiyin / 100).to_string();
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push('\u{a0}');
        }
        grouped.push(digit);
    }
    format!("{grouped}.{:02}", amount_tiyin % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_shown_as_people_write_it() {
        assert_eq!(soum(5), "0.05");
        assert_eq!(soum(12_345_678_901), "123\u{a0}456\u{a0}789.01");
    }
}
