//! Money: whole tiyin, never a float.

use std::fmt;

use serde_json::Value;

/// An amount of money in tiyin (100 tiyin are 1 soʻm), always above zero and at most [`Tiyin::MAX`].
///
/// Atmos takes and returns amounts in tiyin (Atmos API, field `amount`); the order API speaks decimal soʻm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tiyin(i64);

/// Why a value is not an amount of money, in a sentence for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountFault {
    /// Not digits with at most one point.
    #[error("the amount must be a decimal number of soʻm in a string, such as \"50.00\", or a whole number of soʻm")]
    NotANumber,
    /// A JSON number with a fraction or an exponent: a float may have changed its digits.
    #[error("an amount with a fraction must be a string, such as \"50.25\": a JSON fraction does not keep its digits")]
    FractionAsNumber,
    /// More than two decimals.
    #[error("the amount has more than two decimals; the smallest unit is 0.01 soʻm, one tiyin")]
    TooManyDecimals,
    /// Zero or below.
    #[error("the amount must be above zero")]
    NotPositive,
    /// Above [`Tiyin::MAX`].
    #[error("the amount is above 10000000000.00 soʻm, the largest that is accepted")]
    TooLarge,
}

impl Tiyin {
    /// The largest amount: 10 billion soʻm. It catches slips, and keeps every sum far from overflow.
    pub const MAX: Tiyin = Tiyin(1_000_000_000_000);

    /// The amount of this many tiyin.
    ///
    /// # Errors
    /// [`AmountFault::NotPositive`] for zero and below, [`AmountFault::TooLarge`] above [`Tiyin::MAX`].
    pub fn new(tiyin: i64) -> Result<Self, AmountFault> {
        match tiyin {
            ..=0 => Err(AmountFault::NotPositive),
            _ if tiyin > Self::MAX.0 => Err(AmountFault::TooLarge),
            _ => Ok(Tiyin(tiyin)),
        }
    }

    /// The amount of a decimal number of soʻm: `"50"`, `"50.5"`, `"50.00"`.
    ///
    /// # Errors
    /// The [`AmountFault`] that fits; `"1e3"`, `"+5"`, `".5"` and `"5."` are not numbers here.
    pub fn from_som(text: &str) -> Result<Self, AmountFault> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(AmountFault::NotANumber),
            Some(parts) => parts,
            None => (digits, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(AmountFault::NotANumber);
        }
        if fraction.len() > 2 {
            return Err(AmountFault::TooManyDecimals);
        }
        let tiyin = format!("{whole}{fraction:0<2}").parse::<i64>().map_err(|_| match sign {
            -1 => AmountFault::NotPositive,
            _ => AmountFault::TooLarge,
        })?;
        Self::new(sign * tiyin)
    }

    /// The amount in a JSON value of the order API: a decimal string, or a whole number of soʻm.
    ///
    /// # Errors
    /// The [`AmountFault`] that fits.
    pub fn from_json(value: &Value) -> Result<Self, AmountFault> {
        match value {
            Value::String(text) => Self::from_som(text),
            Value::Number(number) => match number.as_i64() {
                Some(som) => Self::new(som.saturating_mul(100)),
                None if number.is_u64() => Err(AmountFault::TooLarge),
                None => Err(AmountFault::FractionAsNumber),
            },
            _ => Err(AmountFault::NotANumber),
        }
    }

    /// The number of tiyin, for the gateway and the database.
    pub fn get(self) -> i64 {
        self.0
    }
}

/// Formats `tiyin` as decimal soʻm with two decimals; also for sums, which may be zero.
pub fn som(tiyin: i64) -> String {
    let sign = if tiyin < 0 { "-" } else { "" };
    let tiyin = tiyin.unsigned_abs();
    format!("{sign}{}.{:02}", tiyin / 100, tiyin % 100)
}

/// Decimal soʻm with two decimals, as the order API writes it.
impl fmt::Display for Tiyin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&som(self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_read_from_strings_and_whole_numbers() {
        for (value, tiyin) in [
            (json!("50.00"), 5_000),
            (json!("50"), 5_000),
            (json!(50), 5_000),
            (json!("0.01"), 1),
            (json!("19.9"), 1_990),
        ] {
            assert_eq!(Tiyin::from_json(&value), Ok(Tiyin(tiyin)), "{value}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_with_its_own_reason() {
        use AmountFault::*;
        for (value, fault) in [
            (json!("0.001"), TooManyDecimals),
            (json!(50.5), FractionAsNumber),
            (json!(1e30), FractionAsNumber),
            (json!(0), NotPositive),
            (json!("0.00"), NotPositive),
            (json!("-1"), NotPositive),
            (json!(-1), NotPositive),
            (json!("-99999999999999999999"), NotPositive),
            (json!("10000000000.01"), TooLarge),
            (json!("1000000000000000000000000000000"), TooLarge),
            (json!(u64::MAX), TooLarge),
            (json!(i64::MAX), TooLarge),
            (json!("abc"), NotANumber),
            (json!("1e30"), NotANumber),
            (json!(""), NotANumber),
            (json!("."), NotANumber),
            (json!("5."), NotANumber),
            (json!(".5"), NotANumber),
            (json!("+5"), NotANumber),
            (json!(" 5"), NotANumber),
            (json!("5,00"), NotANumber),
            (json!("٥"), NotANumber),
            (json!(null), NotANumber),
            (json!([50]), NotANumber),
        ] {
            assert_eq!(Tiyin::from_json(&value), Err(fault), "{value}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_is_read_back_as_it_was_written(tiyin in 1..=Tiyin::MAX.0) {
            let amount = Tiyin::new(tiyin).unwrap();
            prop_assert_eq!(Tiyin::from_som(&amount.to_string()), Ok(amount));
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_leave_its_range(text in "[-+.0-9e ]{0,40}") {
            if let Ok(amount) = Tiyin::from_som(&text) {
                prop_assert!((1..=Tiyin::MAX.0).contains(&amount.get()));
            }
        }
    }
}
