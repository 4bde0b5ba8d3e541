//! The result codes of the merchant API and their texts.

/// The language of a result's description (Atmos API, field `lang`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ResultLanguage {
    #[default]
    Russian,
    Uzbek,
    English,
}

impl ResultLanguage {
    /// Reads the field `lang`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        match text {
            "ru" => Some(ResultLanguage::Russian),
            "uz" => Some(ResultLanguage::Uzbek),
            "en" => Some(ResultLanguage::English),
            _ => None,
        }
    }
}

/// The result of a call (Atmos API, `result.code`). Business errors have HTTP status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Ok,
    /// Internal error; at a debit, the processing center failed.
    Internal,
    /// Missing or invalid fields.
    WrongParameters,
    /// No such transaction, store or terminal.
    NotFound,
    /// An impossible card number.
    WrongCard,
    /// An expired card. Atmos' own code for it is not published; this one says "wrong card".
    CardExpired,
    /// A card without a telephone number for its OTP; the code is a guess too.
    CardWithoutSms,
    /// Paid, reversed, canceled or lapsed: `store_transaction` says which.
    Closed,
    /// The merchant did not allow the debit, or did not answer.
    MerchantRefused,
    WrongOtp,
    InsufficientFunds,
    /// A code unknown to every merchant; only a fault uses it.
    NeverHeardOf,
}

impl Code {
    /// The code as it is sent.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Internal => "STPIMS-ERR-001",
            Code::WrongParameters => "STPIMS-ERR-009",
            Code::NotFound => "STPIMS-ERR-061",
            Code::WrongCard | Code::CardExpired | Code::CardWithoutSms => "STPIMS-ERR-067",
            Code::Closed => "STPIMS-ERR-092",
            Code::MerchantRefused => "STPIMS-ERR-093",
            Code::WrongOtp => "STPIMS-ERR-098",
            Code::InsufficientFunds => "STPIMS-ERR-112",
            Code::NeverHeardOf => "STPIMS-ERR-777",
        }
    }

    /// The description for people.
    pub(crate) fn description(self, language: ResultLanguage) -> &'static str {
        let (russian, uzbek, english) = match self {
            Code::Ok => ("Нет ошибок", "Xatolik yo‘q", "No errors"),
            Code::Internal => ("Внутренняя ошибка", "Ichki xatolik", "Internal error"),
            Code::WrongParameters => ("Неверные параметры", "Noto‘g‘ri parametrlar", "Wrong parameters"),
            Code::NotFound => ("Запись не найдена", "Yozuv topilmadi", "Record not found"),
            Code::WrongCard => ("Неверная карта", "Karta noto‘g‘ri", "Wrong card"),
            Code::CardExpired => ("Срок действия карты истёк", "Karta muddati tugagan", "The card has expired"),
            Code::CardWithoutSms => (
                "К карте не подключено SMS-информирование",
                "Kartaga SMS-xabarnoma ulanmagan",
                "No SMS service is connected to the card",
            ),
            Code::Closed => ("Транзакция закрыта", "Tranzaksiya yopilgan", "The transaction is closed"),
            Code::MerchantRefused => (
                "Ошибка в биллинге поставщика",
                "Yetkazib beruvchining billing tizimida xato",
                "Error in the merchant's billing",
            ),
            Code::WrongOtp => ("Неверный код подтверждения", "Tasdiqlash kodi noto‘g‘ri", "Wrong confirmation code"),
            Code::InsufficientFunds => ("Недостаточно средств", "Mablag‘ yetarli emas", "Insufficient funds"),
            Code::NeverHeardOf => ("Неизвестная ошибка", "Noma’lum xatolik", "Unknown error"),
        };
        match language {
            ResultLanguage::Russian => russian,
            ResultLanguage::Uzbek => uzbek,
            ResultLanguage::English => english,
        }
    }
}
