//! The result codes of the merchant API and their texts.

/// The language of a result's description (Atmos API, field `lang`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    Russian,
    Uzbek,
    English,
}

impl Language {
    /// Reads the field `lang`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        match text {
            "ru" => Some(Self::Russian),
            "uz" => Some(Self::Uzbek),
            "en" => Some(Self::English),
            _ => None,
        }
    }
}

/// How a call ended (Atmos API, `result.code`). Business errors travel with HTTP 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Ok,
    /// Internal error; at a debit: the processing center failed.
    Internal,
    /// Missing or odd fields.
    WrongParameters,
    /// No such transaction, store or terminal.
    NotFound,
    /// A card number that cannot be.
    WrongCard,
    /// A card whose time is over. Atmos' own code for it is not published; this one says "wrong card".
    CardExpired,
    /// A card without a telephone number for its OTP. As above.
    CardWithoutSms,
    /// Paid, reversed, canceled or lapsed: `store_transaction` says which.
    Closed,
    /// The merchant did not allow the debit, or could not be asked.
    MerchantRefused,
    WrongOtp,
    InsufficientFunds,
    /// A code that no merchant knows; only a fault answers it.
    NeverHeardOf,
}

impl Code {
    /// The code as it is on the wire.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Internal => "STPIMS-ERR-001",
            Self::WrongParameters => "STPIMS-ERR-009",
            Self::NotFound => "STPIMS-ERR-061",
            Self::WrongCard | Self::CardExpired | Self::CardWithoutSms => "STPIMS-ERR-067",
            Self::Closed => "STPIMS-ERR-092",
            Self::MerchantRefused => "STPIMS-ERR-093",
            Self::WrongOtp => "STPIMS-ERR-098",
            Self::InsufficientFunds => "STPIMS-ERR-112",
            Self::NeverHeardOf => "STPIMS-ERR-777",
        }
    }

    /// What a person is told.
    pub(crate) fn description(self, language: Language) -> &'static str {
        let (russian, uzbek, english) = match self {
            Self::Ok => ("Нет ошибок", "Xatolik yo‘q", "No errors"),
            Self::Internal => ("Внутренняя ошибка", "Ichki xatolik", "Internal error"),
            Self::WrongParameters => ("Неверные параметры", "Noto‘g‘ri parametrlar", "Wrong parameters"),
            Self::NotFound => ("Запись не найдена", "Yozuv topilmadi", "Record not found"),
            Self::WrongCard => ("Неверная карта", "Karta noto‘g‘ri", "Wrong card"),
            Self::CardExpired => ("Срок действия карты истёк", "Karta muddati tugagan", "The card has expired"),
            Self::CardWithoutSms => (
                "К карте не подключено SMS-информирование",
                "Kartaga SMS-xabarnoma ulanmagan",
                "No SMS service is connected to the card",
            ),
            Self::Closed => ("Транзакция закрыта", "Tranzaksiya yopilgan", "The transaction is closed"),
            Self::MerchantRefused => (
                "Ошибка в биллинге поставщика",
                "Yetkazib beruvchining billing tizimida xato",
                "Error in the merchant's billing",
            ),
            Self::WrongOtp => ("Неверный код подтверждения", "Tasdiqlash kodi noto‘g‘ri", "Wrong confirmation code"),
            Self::InsufficientFunds => ("Недостаточно средств", "Mablag‘ yetarli emas", "Insufficient funds"),
            Self::NeverHeardOf => ("Неизвестная ошибка", "Noma’lum xatolik", "Unknown error"),
        };
        match language {
            Language::Russian => russian,
            Language::Uzbek => uzbek,
            Language::English => english,
        }
    }
}
