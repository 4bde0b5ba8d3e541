//! The cards that a sandbox accepts. None of them is a real card.

use serde::{Deserialize, Serialize};

/// The OTP of every test card (Atmos API, test data).
pub(crate) const OTP: &str = "111111";

/// A card that always pays.
pub(crate) const GOOD_CARD: &str = "8600490744313347";

/// Atmos' published test cards and their behaviour (Atmos API, test data). Their expiries are in the past, so any valid
/// month is accepted.
pub(crate) const TEST_CARDS: [(&str, Behaviour); 11] = [
    (GOOD_CARD, Behaviour::Pays),
    ("8600332914249390", Behaviour::Pays),
    ("8600492993407481", Behaviour::Pays),
    ("8600312990314318", Behaviour::Pays),
    ("9860090101431907", Behaviour::Pays),
    ("9860090101014364", Behaviour::Pays),
    ("5614688715378807", Behaviour::Pays),
    ("8600312987000557", Behaviour::ProcessingError),
    ("8600493214116133", Behaviour::WithoutSms),
    ("8600492986215602", Behaviour::Expired),
    ("8600312998546358", Behaviour::InsufficientFunds),
];

/// The behaviour of a card in a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Behaviour {
    /// The payment succeeds.
    Pays,
    /// The debit fails, after the merchant was asked.
    ProcessingError,
    /// It has too little money, which shows at the debit, after the merchant was asked.
    InsufficientFunds,
    /// It has no telephone number, so no OTP can be sent.
    WithoutSms,
    /// It has expired.
    Expired,
}

/// The card of a payment. Its number is masked before this type exists, so it is never stored or logged whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PayingCard {
    pub(crate) masked: String,
    pub(crate) behaviour: Behaviour,
}

/// Why an entry is not a valid card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CardError {
    /// Not 16 digits, or not a month: the caller sent nonsense (ERR-009).
    Malformed,
    /// The check digit is wrong: a mistyped number (ERR-067).
    WrongNumber,
}

impl PayingCard {
    /// Reads a card number and an expiry in the API's form `YYMM`.
    ///
    /// # Errors
    /// [`CardError`] if this cannot be a card.
    pub(crate) fn read(number: &str, expiry_yymm: &str) -> Result<Self, CardError> {
        let month_is_real = expiry_yymm.len() == 4
            && expiry_yymm.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(expiry_yymm.get(2..).map(str::parse::<u8>), Some(Ok(1..=12)));
        if number.len() != 16 || !number.bytes().all(|byte| byte.is_ascii_digit()) || !month_is_real {
            return Err(CardError::Malformed);
        }
        let known = TEST_CARDS.iter().find(|(test_card, _)| *test_card == number);
        let behaviour = match known {
            Some((_, behaviour)) => *behaviour,
            None if passes_luhn(number) => Behaviour::Pays,
            None => return Err(CardError::WrongNumber),
        };
        let (first, last) = (number.get(..6), number.get(12..));
        Ok(PayingCard { masked: format!("{}******{}", first.unwrap_or_default(), last.unwrap_or_default()), behaviour })
    }

    /// A card bound earlier. The sandbox binds none, so every token stands for a card that pays.
    pub(crate) fn bound() -> Self {
        PayingCard { masked: "token".to_owned(), behaviour: Behaviour::Pays }
    }
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
    fn every_published_test_card_is_taken_with_any_month() {
        for (number, behaviour) in TEST_CARDS {
            let card = PayingCard::read(number, "0801").expect("a test card");

            assert_eq!(card.behaviour, behaviour);
        }
    }

    #[test]
    fn a_card_off_the_list_pays_when_its_check_digit_is_right() {
        assert!(PayingCard::read("4111111111111111", "3012").is_ok());
        assert_eq!(PayingCard::read("4111111111111112", "3012"), Err(CardError::WrongNumber));
    }

    #[test]
    fn nonsense_is_no_card() {
        for (number, expiry) in [
            ("", "3012"),
            ("411111111111111", "3012"),
            ("41111111111111111", "3012"),
            ("411111111111111a", "3012"),
            ("4111111111111111", "3013"),
            ("4111111111111111", "3000"),
            ("4111111111111111", "12/30"),
            ("4111111111111111", "+112"),
            ("4111111111111111", ""),
            ("４１１１１", "3012"),
        ] {
            assert_eq!(PayingCard::read(number, expiry), Err(CardError::Malformed), "{number} {expiry}");
        }
    }

    #[test]
    fn a_card_number_is_never_kept_whole() {
        let card = PayingCard::read(GOOD_CARD, "2410").expect("a test card");

        assert_eq!(card.masked, "860049******3347");
        assert!(!format!("{card:?}").contains(GOOD_CARD));
    }
}
