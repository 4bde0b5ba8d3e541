//! The words of the payer's page in three languages.

/// A language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageLanguage {
    Uzbek,
    Russian,
    English,
}

impl PageLanguage {
    pub(crate) const ALL: [PageLanguage; 3] = [PageLanguage::Uzbek, PageLanguage::Russian, PageLanguage::English];

    /// `uz`, `ru` or `en`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            PageLanguage::Uzbek => "uz",
            PageLanguage::Russian => "ru",
            PageLanguage::English => "en",
        }
    }

    /// Its own name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            PageLanguage::Uzbek => "Oʻzbekcha",
            PageLanguage::Russian => "Русский",
            PageLanguage::English => "English",
        }
    }

    fn find(code: &str) -> Option<Self> {
        PageLanguage::ALL.into_iter().find(|language| language.code() == code)
    }

    /// The language that the address names, or else the first one that the browser prefers; Uzbek if there is none.
    pub(crate) fn of(named: &str, accepted: &str) -> Self {
        let accepted = accepted.split(',').filter_map(|part| part.trim().get(..2));
        let preferred = accepted.filter_map(|code| PageLanguage::find(&code.to_ascii_lowercase())).next();
        PageLanguage::find(named).or(preferred).unwrap_or(PageLanguage::Uzbek)
    }

    pub(crate) fn words(self) -> &'static PageWords {
        match self {
            PageLanguage::Uzbek => &UZBEK,
            PageLanguage::Russian => &RUSSIAN,
            PageLanguage::English => &ENGLISH,
        }
    }
}

/// What the page says.
#[derive(Debug)]
pub(crate) struct PageWords {
    pub(crate) notice: &'static str,
    pub(crate) order: &'static str,
    pub(crate) soum: &'static str,
    pub(crate) card_number: &'static str,
    pub(crate) valid_until: &'static str,
    pub(crate) phone: &'static str,
    pub(crate) pay_by_card: &'static str,
    pub(crate) pay_by_phone: &'static str,
    pub(crate) back: &'static str,
    pub(crate) test_values: &'static str,
    pub(crate) pays: &'static str,
    pub(crate) declines: &'static str,
    pub(crate) leaves: &'static str,
    pub(crate) paid: &'static str,
    pub(crate) returned: &'static str,
    pub(crate) refused: &'static str,
    pub(crate) declined: &'static str,
    pub(crate) left: &'static str,
    pub(crate) wrong_card: &'static str,
    pub(crate) wrong_expiry: &'static str,
    pub(crate) wrong_phone: &'static str,
    pub(crate) broken: &'static str,
    pub(crate) languages: &'static str,
}

const UZBEK: PageWords = PageWords {
    notice: "Sinov muhiti: bu yerda pul koʻchmaydi. Haqiqiy karta raqamini kiritmang.",
    order: "Buyurtma",
    soum: "soʻm",
    card_number: "Karta raqami",
    valid_until: "Amal qilish muddati",
    phone: "CLICK hisobining telefoni",
    pay_by_card: "Karta bilan toʻlash",
    pay_by_phone: "CLICK orqali toʻlash",
    back: "Doʻkonga qaytish",
    test_values: "Sinov kartalari va telefonlari",
    pays: "toʻlanadi",
    declines: "bank rad etadi",
    leaves: "xaridor ketib qoladi",
    paid: "Toʻlandi. Rahmat!",
    returned: "Doʻkon buyurtmani bekor qildi. Pul qaytarildi.",
    refused: "Doʻkon bu toʻlovni qabul qilmadi. Pul yechilmadi.",
    declined: "Bank toʻlovni rad etdi. Pul yechilmadi. Boshqa karta bilan urinib koʻring.",
    left: "Toʻlov tugatilmadi. Pul yechilmadi.",
    wrong_card: "Karta raqami notoʻgʻri. 16 ta raqamni tekshiring.",
    wrong_expiry: "Muddatni OO/YY koʻrinishida kiriting, masalan 07/28.",
    wrong_phone: "Telefon raqami notoʻgʻri, masalan +998 90 123 45 67.",
    broken: "Sinov muhiti ishlamadi; sababi uning jurnalida.",
    languages: "Til",
};

const RUSSIAN: PageWords = PageWords {
    notice: "Песочница: деньги здесь не переводятся. Не вводите настоящую карту.",
    order: "Заказ",
    soum: "сум",
    card_number: "Номер карты",
    valid_until: "Срок действия",
    phone: "Телефон в CLICK",
    pay_by_card: "Оплатить картой",
    pay_by_phone: "Оплатить через CLICK",
    back: "Вернуться в магазин",
    test_values: "Тестовые карты и телефоны",
    pays: "оплачивает",
    declines: "банк отклоняет",
    leaves: "покупатель уходит",
    paid: "Оплачено. Спасибо!",
    returned: "Магазин отменил заказ. Деньги возвращены.",
    refused: "Магазин не принял этот платёж. Деньги не списаны.",
    declined: "Банк отклонил платёж. Деньги не списаны. Попробуйте другую карту.",
    left: "Платёж не завершён. Деньги не списаны.",
    wrong_card: "Неверный номер карты. Проверьте 16 цифр.",
    wrong_expiry: "Введите срок как ММ/ГГ, например 07/28.",
    wrong_phone: "Неверный номер телефона. Пример: +998 90 123 45 67.",
    broken: "Песочница не справилась; причина в её журнале.",
    languages: "Язык",
};

const ENGLISH: PageWords = PageWords {
    notice: "Sandbox: no money moves here. Never enter a real card.",
    order: "Order",
    soum: "soʻm",
    card_number: "Card number",
    valid_until: "Valid until",
    phone: "Telephone in CLICK",
    pay_by_card: "Pay by card",
    pay_by_phone: "Pay with CLICK",
    back: "Back to the shop",
    test_values: "Test cards and telephones",
    pays: "pays",
    declines: "the bank declines",
    leaves: "the payer leaves",
    paid: "Paid. Thank you.",
    returned: "The shop canceled the order. The money was returned.",
    refused: "The shop did not accept this payment. No money was taken.",
    declined: "The bank declined the payment. No money was taken. You may try another card.",
    left: "The payment was not finished. No money was taken.",
    wrong_card: "This card number is wrong. Check its 16 digits.",
    wrong_expiry: "Enter the expiry as MM/YY, for example 07/28.",
    wrong_phone: "This telephone number is wrong; an example is +998 90 123 45 67.",
    broken: "The sandbox failed; its log says why.",
    languages: "Language",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_decides_before_the_browser_does() {
        for (named, accepted, language) in [
            ("ru", "en-GB,en;q=0.9", PageLanguage::Russian),
            ("", "de-DE,en-GB;q=0.9,ru;q=0.8", PageLanguage::English),
            ("fr", "RU", PageLanguage::Russian),
            ("", "", PageLanguage::Uzbek),
            ("", "ў", PageLanguage::Uzbek),
        ] {
            assert_eq!(PageLanguage::of(named, accepted), language, "{named} {accepted}");
        }
    }
}
