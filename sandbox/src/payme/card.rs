//! The cards of Payme's test data.

/// The code of every message (Payme documents, test data).
pub(crate) const CODE: &str = "666666";

/// A card that pays.
pub(crate) const GOOD_CARD: &str = "8600069195406311";

/// The published test cards (Payme documents, test data).
pub(crate) const TEST_CARDS: [&str; 2] = [GOOD_CARD, "8600495473316478"];

/// Their expiry, without the slash.
pub(crate) const EXPIRY: &str = "0399";

/// A card that a payer entered. Its number is masked before this type exists, so it is never stored or logged whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PayerCard {
    pub(crate) masked: String,
    /// Whether there is money on it. It shows at the debit, after the merchant has allowed.
    pub(crate) has_money: bool,
}

impl PayerCard {
    /// Reads a number and an expiry as people type them; `None` if this cannot be a card.
    pub(crate) fn read(number: &str, expiry: &str) -> Option<Self> {
        let digits = |text: &str| text.chars().filter(|sign| !sign.is_whitespace() && *sign != '/').collect::<String>();
        let (number, expiry) = (digits(number), digits(expiry));
        if number.len() != 16 || !number.bytes().all(|byte| byte.is_ascii_digit()) || expiry != EXPIRY {
            return None;
        }
        let has_money = TEST_CARDS.contains(&number.as_str());
        let masked = format!("{}******{}", number.get(..6)?, number.get(12..)?);
        Some(PayerCard { masked, has_money })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_published_cards_have_money() {
        for card in TEST_CARDS {
            assert!(PayerCard::read(card, "03/99").expect("a card").has_money, "{card}");
        }
        assert!(!PayerCard::read("4111 1111 1111 1111", "03 / 99").expect("a card").has_money);
        for (number, expiry) in
            [("8600069195406311", "03/98"), ("860006919540631", "03/99"), ("860006919540631x", "0399")]
        {
            assert_eq!(PayerCard::read(number, expiry), None, "{number} {expiry}");
        }
    }
}
