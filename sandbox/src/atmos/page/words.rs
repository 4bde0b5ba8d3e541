//! The words of the payment page in three languages.

use crate::atmos::cards::Behaviour;
use crate::atmos::codes::ResultLanguage;

impl ResultLanguage {
    /// The languages in which the page can be read.
    pub(super) const ALL: [ResultLanguage; 3] =
        [ResultLanguage::Uzbek, ResultLanguage::Russian, ResultLanguage::English];

    /// `uz`, `ru` or `en`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            ResultLanguage::Uzbek => "uz",
            ResultLanguage::Russian => "ru",
            ResultLanguage::English => "en",
        }
    }

    /// Its own name.
    pub(super) fn name(self) -> &'static str {
        match self {
            ResultLanguage::Uzbek => "Oʻzbekcha",
            ResultLanguage::Russian => "Русский",
            ResultLanguage::English => "English",
        }
    }

    pub(super) fn words(self) -> &'static InvoiceWords {
        match self {
            ResultLanguage::Uzbek => &UZBEK,
            ResultLanguage::Russian => &RUSSIAN,
            ResultLanguage::English => &ENGLISH,
        }
    }
}

/// What the page says.
#[derive(Debug)]
pub(super) struct InvoiceWords {
    pub(super) notice: &'static str,
    pub(super) invoice: &'static str,
    pub(super) soum: &'static str,
    pub(super) card_number: &'static str,
    pub(super) valid_until: &'static str,
    pub(super) next: &'static str,
    pub(super) cancel: &'static str,
    pub(super) test_cards: &'static str,
    pub(super) other_values: &'static str,
    pub(super) card: &'static str,
    pub(super) use_another: &'static str,
    pub(super) otp: &'static str,
    pub(super) otp_hint: &'static str,
    pub(super) pay: &'static str,
    pub(super) back: &'static str,
    pub(super) languages: &'static str,
    pays: &'static str,
    processing_error: &'static str,
    insufficient_funds: &'static str,
    without_sms: &'static str,
    expired: &'static str,
    pub(super) wrong_expiry: &'static str,
    pub(super) malformed_card: &'static str,
    pub(super) wrong_number: &'static str,
    pub(super) wrong_otp: &'static str,
    pub(super) refused: &'static str,
    pub(super) no_money: &'static str,
    pub(super) bank_failed: &'static str,
    pub(super) card_first: &'static str,
    pub(super) paid: &'static str,
    pub(super) closed: &'static str,
    pub(super) returned: &'static str,
}

impl InvoiceWords {
    /// What a test card does.
    pub(super) fn behaviour(&self, behaviour: Behaviour) -> &'static str {
        match behaviour {
            Behaviour::Pays => self.pays,
            Behaviour::ProcessingError => self.processing_error,
            Behaviour::InsufficientFunds => self.insufficient_funds,
            Behaviour::WithoutSms => self.without_sms,
            Behaviour::Expired => self.expired,
        }
    }
}

const UZBEK: InvoiceWords = InvoiceWords {
    notice: "Sinov muhiti: bu yerda pul koʻchmaydi. Haqiqiy karta raqamini kiritmang.",
    invoice: "Hisob",
    soum: "soʻm",
    card_number: "Karta raqami",
    valid_until: "Amal qilish muddati",
    next: "Davom etish",
    cancel: "Bekor qilish",
    test_cards: "Sinov kartalari",
    other_values: "Muddat har qanday boʻlishi mumkin, kod 111111.",
    card: "Karta",
    use_another: "Boshqasini kiritish",
    otp: "SMS kodi",
    otp_hint: "Sinov muhitida bu 111111.",
    pay: "Toʻlash",
    back: "Doʻkonga qaytish",
    languages: "Til",
    pays: "toʻlaydi",
    processing_error: "bank xatosi",
    insufficient_funds: "mablagʻ yetarli emas",
    without_sms: "SMS-xabarnoma yoʻq",
    expired: "muddati tugagan",
    wrong_expiry: "Muddatni OO/YY koʻrinishida kiriting, masalan 07/28.",
    malformed_card: "Kartaning 16 ta raqamini va muddatini kiriting.",
    wrong_number: "Karta raqami notoʻgʻri. Raqamlarini tekshiring.",
    wrong_otp: "Kod notoʻgʻri. SMS kodini qayta kiriting.",
    refused: "Doʻkon bu toʻlovni qabul qilmadi. Pul yechilmadi. Yana urinib koʻring yoki bekor qiling.",
    no_money: "Kartada mablagʻ yetarli emas. Pul yechilmadi. Boshqa karta bilan urinib koʻring.",
    bank_failed: "Bank toʻlovni bajara olmadi. Pul yechilmadi. Yana urinib koʻring.",
    card_first: "Avval kartani kiriting.",
    paid: "Toʻlandi. Rahmat!",
    closed: "Bu toʻlov bekor qilingan yoki muddati tugagan. Pul yechilmadi.",
    returned: "Bu toʻlov qaytarildi.",
};

const RUSSIAN: InvoiceWords = InvoiceWords {
    notice: "Песочница: деньги здесь не переводятся. Не вводите настоящую карту.",
    invoice: "Счёт",
    soum: "сум",
    card_number: "Номер карты",
    valid_until: "Срок действия",
    next: "Продолжить",
    cancel: "Отменить",
    test_cards: "Тестовые карты",
    other_values: "Срок любой, код 111111.",
    card: "Карта",
    use_another: "Ввести другую",
    otp: "Код из SMS",
    otp_hint: "В песочнице это 111111.",
    pay: "Оплатить",
    back: "Вернуться в магазин",
    languages: "Язык",
    pays: "оплачивает",
    processing_error: "ошибка банка",
    insufficient_funds: "недостаточно средств",
    without_sms: "нет SMS-информирования",
    expired: "срок истёк",
    wrong_expiry: "Введите срок как ММ/ГГ, например 07/28.",
    malformed_card: "Введите 16 цифр номера карты и срок действия.",
    wrong_number: "Неверный номер карты. Проверьте цифры.",
    wrong_otp: "Неверный код. Введите код из SMS ещё раз.",
    refused: "Магазин не принял этот платёж. Деньги не списаны. Попробуйте ещё раз или отмените платёж.",
    no_money: "На карте недостаточно средств. Деньги не списаны. Попробуйте другую карту.",
    bank_failed: "Банк не смог провести платёж. Деньги не списаны. Попробуйте ещё раз.",
    card_first: "Сначала введите карту.",
    paid: "Оплачено. Спасибо!",
    closed: "Этот платёж отменён, или его время истекло. Деньги не списаны.",
    returned: "Этот платёж возвращён.",
};

const ENGLISH: InvoiceWords = InvoiceWords {
    notice: "Sandbox: no money moves here. Never enter a real card.",
    invoice: "Invoice",
    soum: "soʻm",
    card_number: "Card number",
    valid_until: "Valid until",
    next: "Continue",
    cancel: "Cancel",
    test_cards: "Test cards",
    other_values: "Any expiry will do; the code is 111111.",
    card: "Card",
    use_another: "Use another",
    otp: "Code from the message",
    otp_hint: "In the sandbox it is 111111.",
    pay: "Pay",
    back: "Back to the shop",
    languages: "Language",
    pays: "pays",
    processing_error: "processing error",
    insufficient_funds: "insufficient funds",
    without_sms: "no SMS service",
    expired: "expired",
    wrong_expiry: "Enter the expiry as MM/YY, for example 07/28.",
    malformed_card: "Enter the 16 digits of the card number and its expiry.",
    wrong_number: "This card number is wrong. Check its digits.",
    wrong_otp: "This code is wrong. Enter the code from the message once more.",
    refused: "The shop did not accept this payment. No money was taken. You may try again or cancel.",
    no_money: "There is not enough money on this card. No money was taken. You may try another one.",
    bank_failed: "The bank could not process this payment. No money was taken. You may try again.",
    card_first: "Enter a card first.",
    paid: "Paid. Thank you.",
    closed: "This payment was canceled or is over. No money was taken.",
    returned: "This payment was returned.",
};
