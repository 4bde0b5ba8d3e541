//! The words of the payer's page in three languages.

/// A language of the page (Payme documents, key `l` of the link).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayerLanguage {
    Russian,
    Uzbek,
    English,
}

impl PayerLanguage {
    /// Reads the key; Russian where it is missing or unknown, as Payme has it.
    pub(crate) fn find(code: &str) -> Self {
        match code {
            "uz" => PayerLanguage::Uzbek,
            "en" => PayerLanguage::English,
            _ => PayerLanguage::Russian,
        }
    }

    /// `ru`, `uz` or `en`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            PayerLanguage::Russian => "ru",
            PayerLanguage::Uzbek => "uz",
            PayerLanguage::English => "en",
        }
    }

    /// Its own name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            PayerLanguage::Russian => "Русский",
            PayerLanguage::Uzbek => "Oʻzbekcha",
            PayerLanguage::English => "English",
        }
    }

    pub(crate) fn words(self) -> &'static PayerWords {
        match self {
            PayerLanguage::Russian => &RUSSIAN,
            PayerLanguage::Uzbek => &UZBEK,
            PayerLanguage::English => &ENGLISH,
        }
    }
}

/// What the page says.
#[derive(Debug)]
pub(crate) struct PayerWords {
    pub(crate) notice: &'static str,
    pub(crate) soum: &'static str,
    pub(crate) card_number: &'static str,
    pub(crate) valid_until: &'static str,
    pub(crate) next: &'static str,
    pub(crate) code: &'static str,
    pub(crate) code_hint: &'static str,
    pub(crate) pay: &'static str,
    pub(crate) back: &'static str,
    pub(crate) test_cards: &'static str,
    pub(crate) other_cards: &'static str,
    pub(crate) wrong_card: &'static str,
    pub(crate) wrong_code: &'static str,
    pub(crate) paid: &'static str,
    pub(crate) refused: &'static str,
    pub(crate) unavailable: &'static str,
    pub(crate) declined: &'static str,
    pub(crate) left: &'static str,
    pub(crate) waits: &'static str,
    pub(crate) returned: &'static str,
    pub(crate) languages: &'static str,
}

const RUSSIAN: PayerWords = PayerWords {
    notice: "Песочница: деньги не списываются. Не вводите настоящую карту.",
    soum: "сум",
    card_number: "Номер карты",
    valid_until: "Срок действия",
    next: "Продолжить",
    code: "Код из SMS",
    code_hint: "В песочнице это 666666.",
    pay: "Оплатить",
    back: "Вернуться в магазин",
    test_cards: "Тестовые карты",
    other_cards: "Срок 03/99, код 666666. На любой другой карте нет денег.",
    wrong_card: "Проверьте номер карты и срок действия.",
    wrong_code: "Неверный код. Введите код из SMS ещё раз.",
    paid: "Оплачено. Спасибо!",
    refused: "Магазин не принял оплату. Деньги не списаны.",
    unavailable: "Магазин не отвечает. Деньги не списаны. Попробуйте позже.",
    declined: "На карте недостаточно средств. Деньги не списаны. Попробуйте другую карту.",
    left: "Вы ушли со страницы. Деньги не списаны.",
    waits: "Платёж обрабатывается.",
    returned: "Магазин не смог завершить оплату. Деньги возвращены.",
    languages: "Язык",
};

const UZBEK: PayerWords = PayerWords {
    notice: "Sinov muhiti: pul yechilmaydi. Haqiqiy karta kiritmang.",
    soum: "soʻm",
    card_number: "Karta raqami",
    valid_until: "Amal qilish muddati",
    next: "Davom etish",
    code: "SMS kodi",
    code_hint: "Sinov muhitida bu 666666.",
    pay: "Toʻlash",
    back: "Doʻkonga qaytish",
    test_cards: "Sinov kartalari",
    other_cards: "Muddati 03/99, kod 666666. Boshqa har qanday kartada pul yoʻq.",
    wrong_card: "Karta raqami va muddatini tekshiring.",
    wrong_code: "Kod notoʻgʻri. SMS kodini qayta kiriting.",
    paid: "Toʻlandi. Rahmat!",
    refused: "Doʻkon toʻlovni qabul qilmadi. Pul yechilmadi.",
    unavailable: "Doʻkon javob bermayapti. Pul yechilmadi. Keyinroq urinib koʻring.",
    declined: "Kartada mablagʻ yetarli emas. Pul yechilmadi. Boshqa karta bilan urinib koʻring.",
    left: "Siz sahifadan ketdingiz. Pul yechilmadi.",
    waits: "Toʻlov bajarilmoqda.",
    returned: "Doʻkon toʻlovni yakunlay olmadi. Pul qaytarildi.",
    languages: "Til",
};

const ENGLISH: PayerWords = PayerWords {
    notice: "Sandbox: no money moves here. Never enter a real card.",
    soum: "soʻm",
    card_number: "Card number",
    valid_until: "Valid until",
    next: "Continue",
    code: "Code from the message",
    code_hint: "In the sandbox it is 666666.",
    pay: "Pay",
    back: "Back to the shop",
    test_cards: "Test cards",
    other_cards: "Valid until 03/99, code 666666. Any other card has no money.",
    wrong_card: "Check the card number and its expiry.",
    wrong_code: "This code is wrong. Enter the code from the message once more.",
    paid: "Paid. Thank you.",
    refused: "The shop did not accept this payment. No money was taken.",
    unavailable: "The shop does not answer. No money was taken. Try again later.",
    declined: "There is not enough money on this card. No money was taken. You may try another card.",
    left: "You left the page. No money was taken.",
    waits: "The payment is being processed.",
    returned: "The shop could not finish the payment. The money was returned.",
    languages: "Language",
};
