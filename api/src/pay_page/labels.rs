//! Texts that stand on every page of the customer, in Uzbek, Russian and English.

use domain::money::Tiyin;
use domain::order::{Language, PaymentType};

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
    /// The link to the choice of another gateway.
    pub(crate) choose: &'static str,
    /// The link to the shop.
    pub(crate) back: &'static str,
    /// The link to the shop, while the order is not paid and can be.
    pub(super) back_without_paying: &'static str,
    /// While the page cannot reach us.
    pub(crate) trouble: &'static str,
    /// The choice of the page's language, for those who hear the page.
    pub(super) languages: &'static str,
    /// The logo of a shop without a name.
    pub(super) logo: &'static str,
    /// Before the way to reach the shop.
    pub(super) support: &'static str,
    /// Before the time until which the order can be paid.
    pub(super) pay_until: &'static str,
    /// Before the time until which the customer can choose how to pay.
    pub(super) choose_until: &'static str,
    /// The minutes left until then; `{}` stands for their number.
    pub(super) minutes_left: &'static str,
    /// Before the time at which it was paid.
    pub(super) paid_at: &'static str,
    /// Before the name of the gateway that took the money.
    pub(super) paid_through: &'static str,
    /// Before the number of the transaction.
    pub(super) transaction: &'static str,
    /// While the page leads back to the shop; `{}` stands for the number of seconds.
    pub(super) leaving: &'static str,
    /// The link that keeps the customer on the page.
    pub(super) stay: &'static str,
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
                choose: "Boshqa usulda toʻlash",
                back: "Doʻkonga qaytish",
                back_without_paying: "Toʻlamasdan doʻkonga qaytish",
                trouble: "Hozir biz bilan aloqa yoʻq. Sahifa oʻzi qayta urinadi, uni yopmang.",
                languages: "Til",
                logo: "Doʻkon logotipi",
                support: "Doʻkon bilan aloqa:",
                pay_until: "Toʻlash muddati",
                choose_until: "Tanlash muddati",
                minutes_left: "({} daqiqa qoldi)",
                paid_at: "Toʻlangan vaqti",
                paid_through: "Toʻlov tizimi",
                transaction: "Tranzaksiya",
                leaving: "{} soniyadan soʻng doʻkonga qaytasiz.",
                stay: "Shu sahifada qolish",
            },
            Language::Ru => Labels {
                order: "Заказ",
                product: "Товар",
                amount: "Сумма",
                currency: "сум",
                pay: "Перейти к оплате",
                choose: "Оплатить другим способом",
                back: "Вернуться в магазин",
                back_without_paying: "Вернуться в магазин без оплаты",
                trouble: "Сейчас нет связи с нами. Страница пробует снова сама, не закрывайте её.",
                languages: "Язык",
                logo: "Логотип магазина",
                support: "Связь с магазином:",
                pay_until: "Оплатить до",
                choose_until: "Выбрать до",
                minutes_left: "(осталось {} мин)",
                paid_at: "Время оплаты",
                paid_through: "Платёжная система",
                transaction: "Транзакция",
                leaving: "Через {} с вы вернётесь в магазин.",
                stay: "Остаться на этой странице",
            },
            Language::En => Labels {
                order: "Order",
                product: "Product",
                amount: "Amount",
                currency: "soʻm",
                pay: "Go to the payment page",
                choose: "Pay in another way",
                back: "Back to the shop",
                back_without_paying: "Back to the shop without paying",
                trouble: "We cannot be reached at the moment. The page keeps trying by itself; please leave it open.",
                languages: "Language",
                logo: "The shop's logo",
                support: "Contact the shop:",
                pay_until: "Pay until",
                choose_until: "Choose until",
                minutes_left: "({} min left)",
                paid_at: "Paid at",
                paid_through: "Paid with",
                transaction: "Transaction",
                leaving: "You go back to the shop in {} s.",
                stay: "Stay on this page",
            },
        }
    }
}

/// The gateways among which a customer chooses, in a few words each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    atmos: &'static str,
    payme: &'static str,
    click: &'static str,
    /// Beside the one that is chosen now.
    pub(super) chosen: &'static str,
    /// Beside one that cannot be chosen now.
    pub(super) unavailable: &'static str,
}

impl Ways {
    /// The words in that language.
    pub(super) fn of(language: Language) -> Self {
        match language {
            Language::Uz => Ways {
                atmos: "Uzcard yoki Humo kartasi bilan",
                payme: "Payme ilovasi yoki karta bilan",
                click: "Click ilovasi yoki karta bilan",
                chosen: "Hozir tanlangan",
                unavailable: "Hozir ishlamayapti",
            },
            Language::Ru => Ways {
                atmos: "Картой Uzcard или Humo",
                payme: "В приложении Payme или картой",
                click: "В приложении Click или картой",
                chosen: "Выбрано сейчас",
                unavailable: "Сейчас недоступно",
            },
            Language::En => Ways {
                atmos: "With an Uzcard or Humo card",
                payme: "In the Payme app or with a card",
                click: "In the Click app or with a card",
                chosen: "Chosen now",
                unavailable: "Not available now",
            },
        }
    }

    /// A gateway's name, and how one pays there.
    pub(super) fn of_type(&self, payment_type: PaymentType) -> (&'static str, &'static str) {
        let note = match payment_type {
            PaymentType::Atmos => self.atmos,
            PaymentType::Payme => self.payme,
            PaymentType::Click => self.click,
        };
        (gateway_name(payment_type), note)
    }
}

/// A gateway's name for people; it is the same in each language.
pub(super) fn gateway_name(payment_type: PaymentType) -> &'static str {
    match payment_type {
        PaymentType::Atmos => "Atmos",
        PaymentType::Payme => "Payme",
        PaymentType::Click => "Click",
    }
}

/// A language's own name.
pub(super) fn language_name(language: Language) -> &'static str {
    match language {
        Language::Uz => "Oʻzbekcha",
        Language::Ru => "Русский",
        Language::En => "English",
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
