//! Texts that stand on every page of the customer, in Uzbek, Russian and English.

use domain::money::Tiyin;
use domain::order::Language;

/// Texts that stand on every page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels {
    /// Before the order's number.
    pub(crate) order: &'static str,
    /// Before the product's name.
    pub(crate) product: &'static str,
    /// Before the amount.
    pub(crate) amount: &'static str,
    /// After the amount.
    pub(crate) currency: &'static str,
    /// The link to the gateway's page.
    pub(crate) pay: &'static str,
    /// The link to the shop.
    pub(crate) back: &'static str,
    /// While the page cannot reach us.
    pub(crate) trouble: &'static str,
}

impl Labels {
    /// The labels in that language.
    pub(crate) fn of(language: Language) -> Self {
        match language {
            Language::Uz => Labels {
                order: "Buyurtma",
                product: "Mahsulot",
                amount: "Summa",
                currency: "soʻm",
                pay: "Toʻlov sahifasiga oʻtish",
                back: "Doʻkonga qaytish",
                trouble: "Hozir biz bilan aloqa yoʻq. Sahifa oʻzi qayta urinadi, uni yopmang.",
            },
            Language::Ru => Labels {
                order: "Заказ",
                product: "Товар",
                amount: "Сумма",
                currency: "сум",
                pay: "Перейти к оплате",
                back: "Вернуться в магазин",
                trouble: "Сейчас нет связи с нами. Страница пробует снова сама, не закрывайте её.",
            },
            Language::En => Labels {
                order: "Order",
                product: "Product",
                amount: "Amount",
                currency: "soʻm",
                pay: "Go to the payment page",
                back: "Back to the shop",
                trouble: "We cannot be reached at the moment. The page keeps trying by itself; please leave it open.",
            },
        }
    }
}

/// An amount as that language writes it: `1 250 000,00`, in English `1,250,000.00`. It has no place for a line break.
pub(crate) fn written_amount(language: Language, amount: Tiyin) -> String {
    let (group, decimal) = match language {
        Language::Uz | Language::Ru => ('\u{a0}', ','),
        Language::En => (',', '.'),
    };
    let (som, tiyin) = (amount.get() / 100, amount.get() % 100);
    let digits = som.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(group);
        }
        text.push(digit);
    }
    format!("{text}{decimal}{tiyin:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_grouped_as_its_language_does() {
        for (tiyin, uzbek, english) in [
            (5, "0,05", "0.05"),
            (5_000, "50,00", "50.00"),
            (99_999, "999,99", "999.99"),
            (100_000, "1 000,00", "1,000.00"),
            (125_000_000, "1 250 000,00", "1,250,000.00"),
            (1_000_000_000_000, "10 000 000 000,00", "10,000,000,000.00"),
        ] {
            let amount = Tiyin::new(tiyin).unwrap();
            let written = |language| written_amount(language, amount).replace('\u{a0}', " ");

            assert_eq!(written(Language::Uz), uzbek);
            assert_eq!(written(Language::Ru), uzbek);
            assert_eq!(written(Language::En), english);
        }
    }
}
