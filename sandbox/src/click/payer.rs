//! The cards and telephones that the sandbox's Click accepts. None of them is real.

use serde::{Deserialize, Serialize};

/// A card that always pays.
pub(crate) const GOOD_CARD: &str = "8600490744313347";

/// What becomes of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PayerBehaviour {
    /// The debit succeeds.
    Pays,
    /// The bank declines, after Prepare was answered.
    Declines,
    /// The payer leaves after Prepare: no debit, and no Complete until the attempt is ended.
    Leaves,
}

/// The numbers with a meaning, for the page and the guide. Click publishes no test values; these are the sandbox's own.
pub(crate) const TEST_VALUES: [(&str, PayerBehaviour); 6] = [
    (GOOD_CARD, PayerBehaviour::Pays),
    ("9860090101014364", PayerBehaviour::Pays),
    ("8600312998546358", PayerBehaviour::Declines),
    ("998901234567", PayerBehaviour::Pays),
    ("998900000001", PayerBehaviour::Declines),
    ("998900000002", PayerBehaviour::Leaves),
];

/// Whose bank returns the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PayScheme {
    /// Cards that begin with 8600 or 5614. It may refuse a reversal (Click documents, Merchant API, reversal).
    Uzcard,
    /// Cards that begin with 9860.
    Humo,
    /// Any other card.
    Other,
    /// Click's own wallet, paid from a telephone.
    Wallet,
}

/// What a payment is paid with. Its number is masked before this type exists, so it is never stored or logged whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PayMeans {
    pub(crate) masked: String,
    pub(crate) scheme: PayScheme,
    pub(crate) behaviour: PayerBehaviour,
}

impl PayMeans {
    /// Reads what a person typed as a card number; spaces do not count. `None` if it cannot be one.
    pub(crate) fn card(typed: &str) -> Option<Self> {
        let number = digits(typed)?;
        if number.len() != 16 || !passes_luhn(&number) && known(&number).is_none() {
            return None;
        }
        let scheme = match number.get(..4) {
            Some("8600" | "5614") => PayScheme::Uzcard,
            Some("9860") => PayScheme::Humo,
            _ => PayScheme::Other,
        };
        Some(PayMeans::masked(&number, 6, scheme))
    }

    /// Reads what a person typed as a telephone number of Uzbekistan, with or without +998. `None` if it cannot be one.
    pub(crate) fn phone(typed: &str) -> Option<Self> {
        let number = digits(typed.trim().trim_start_matches('+'))?;
        let number = if number.len() == 9 { format!("998{number}") } else { number };
        (number.len() == 12 && number.starts_with("998")).then(|| PayMeans::masked(&number, 5, PayScheme::Wallet))
    }

    fn masked(number: &str, shown: usize, scheme: PayScheme) -> Self {
        let end = number.len().saturating_sub(4);
        let (first, last) = (number.get(..shown).unwrap_or_default(), number.get(end..).unwrap_or_default());
        let hidden = "*".repeat(end.saturating_sub(shown));
        PayMeans {
            masked: format!("{first}{hidden}{last}"),
            scheme,
            behaviour: known(number).unwrap_or(PayerBehaviour::Pays),
        }
    }
}

fn known(number: &str) -> Option<PayerBehaviour> {
    TEST_VALUES.iter().find(|(value, _)| *value == number).map(|(_, behaviour)| *behaviour)
}

fn digits(typed: &str) -> Option<String> {
    let number: String = typed.chars().filter(|sign| !sign.is_whitespace() && *sign != '-').collect();
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

/// Whether the check digit is right (ISO/IEC 7812-1, annex B).
fn passes_luhn(number: &str) -> bool {
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte.saturating_sub(b'0'));
            match (place % 2, digit * 2) {
                (0, _) => digit,
                (_, doubled) if doubled > 9 => doubled - 9,
                (_, doubled) => doubled,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_value_is_taken_as_people_type_it() {
        for (value, behaviour) in TEST_VALUES {
            let means = PayMeans::card(value).or_else(|| PayMeans::phone(value)).expect("a test value");

            assert_eq!(means.behaviour, behaviour, "{value}");
        }
        assert!(PayMeans::card("8600 4907 4431 3347").is_some());
        assert!(PayMeans::phone("+998 90 123-45-67").is_some());
        assert_eq!(PayMeans::phone("90 000 00 01").expect("a phone").behaviour, PayerBehaviour::Declines);
    }

    #[test]
    fn nonsense_is_refused() {
        for typed in ["", "4111111111111112", "411111111111111", "4111a11111111111", "８６００"] {
            assert_eq!(PayMeans::card(typed), None, "{typed}");
        }
        for typed in ["", "12345", "+1 555 000 0000", "99890123456x"] {
            assert_eq!(PayMeans::phone(typed), None, "{typed}");
        }
    }

    #[test]
    fn no_number_is_kept_whole() {
        let card = PayMeans::card(GOOD_CARD).expect("a card");
        let phone = PayMeans::phone("998901234567").expect("a phone");

        assert_eq!((card.masked.as_str(), card.scheme), ("860049******3347", PayScheme::Uzcard));
        assert_eq!((phone.masked.as_str(), phone.scheme), ("99890***4567", PayScheme::Wallet));
    }
}
