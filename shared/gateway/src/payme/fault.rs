//! The errors that Payme gets from us: each with its code and its words, which the payer reads.

use domain::callback_verdict::CallbackVerdict;

/// Why a call gets an error. All that is wrong with the *order* has a code from −31050 to −31099, all that is wrong with the
/// *transaction* has −31008 (Payme documents, errors; which of the two a busy order has differs between its pages, and the
/// sandbox wants the first).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymeFault {
    /// The HTTP method is not POST.
    NotPost,
    /// The body is not JSON.
    NotJson,
    /// A field is missing, is there twice, or has the wrong type.
    Malformed,
    /// There is no such method; this is its name.
    UnknownMethod(String),
    /// No key of ours came with it.
    NotPrivileged,
    /// The database did not answer. Payme calls again.
    SystemError,
    /// The amount is not the order's.
    WrongAmount,
    /// There is no such transaction.
    UnknownTransaction,
    /// The shop gives no money back.
    DeliveredInFull,
    /// The transaction's state does not allow it.
    WrongState,
    /// There is no such order.
    UnknownOrder,
    /// The order is paid, canceled, refunded, or its time is over.
    NotPayable,
    /// Another transaction holds the order.
    Busy,
    /// There is no such receipt.
    UnknownReceipt,
    /// The fiscal data cannot be read.
    BadFiscalData,
}

/// Text for the payer, in the languages of Payme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PayerMessage {
    /// Russian.
    pub ru: &'static str,
    /// Uzbek.
    pub uz: &'static str,
    /// English.
    pub en: &'static str,
}

impl PaymeFault {
    /// Every error, each once.
    pub const ALL: [PaymeFault; 15] = [
        PaymeFault::NotPost,
        PaymeFault::NotJson,
        PaymeFault::Malformed,
        PaymeFault::UnknownMethod(String::new()),
        PaymeFault::NotPrivileged,
        PaymeFault::SystemError,
        PaymeFault::WrongAmount,
        PaymeFault::UnknownTransaction,
        PaymeFault::DeliveredInFull,
        PaymeFault::WrongState,
        PaymeFault::UnknownOrder,
        PaymeFault::NotPayable,
        PaymeFault::Busy,
        PaymeFault::UnknownReceipt,
        PaymeFault::BadFiscalData,
    ];

    /// Its code; no other line has it.
    pub fn code(&self) -> i32 {
        match self {
            PaymeFault::NotPost => -32_300,
            PaymeFault::NotJson => -32_700,
            PaymeFault::Malformed => -32_600,
            PaymeFault::UnknownMethod(_) => -32_601,
            PaymeFault::NotPrivileged => -32_504,
            PaymeFault::SystemError => -32_400,
            PaymeFault::WrongAmount => -31_001,
            PaymeFault::UnknownTransaction => -31_003,
            PaymeFault::DeliveredInFull => -31_007,
            PaymeFault::WrongState => -31_008,
            PaymeFault::UnknownOrder => -31_050,
            PaymeFault::NotPayable => -31_051,
            PaymeFault::Busy => -31_052,
            PaymeFault::UnknownReceipt => -32_001,
            PaymeFault::BadFiscalData => -32_602,
        }
    }

    /// Its words for the payer.
    pub fn message(&self) -> PayerMessage {
        let (ru, uz, en) = match self {
            PaymeFault::NotPost => ("Нужен метод POST", "POST metodi kerak", "The method must be POST"),
            PaymeFault::NotJson => ("Запрос не читается", "Soʻrovni oʻqib boʻlmadi", "The request cannot be read"),
            PaymeFault::Malformed => (
                "В запросе нет нужных полей или их тип неверен",
                "Soʻrovda kerakli maydonlar yoʻq yoki turi notoʻgʻri",
                "Fields of the request are missing or have a wrong type",
            ),
            PaymeFault::UnknownMethod(_) => ("Нет такого метода", "Bunday metod yoʻq", "There is no such method"),
            PaymeFault::NotPrivileged => ("Недостаточно прав", "Huquqlar yetarli emas", "Not enough privileges"),
            PaymeFault::SystemError => (
                "Система временно недоступна, повторите позже",
                "Tizim vaqtincha ishlamayapti, keyinroq urinib koʻring",
                "The system is not available now, try again later",
            ),
            PaymeFault::WrongAmount => (
                "Сумма не равна сумме заказа",
                "Summa buyurtma summasiga teng emas",
                "The amount is not the amount of the order",
            ),
            PaymeFault::UnknownTransaction => {
                ("Транзакция не найдена", "Tranzaksiya topilmadi", "The transaction is not known")
            }
            PaymeFault::DeliveredInFull => (
                "Заказ выполнен полностью, возврат невозможен",
                "Buyurtma toʻliq bajarilgan, pulni qaytarib boʻlmaydi",
                "The order was delivered in full, the money cannot go back",
            ),
            PaymeFault::WrongState => (
                "Состояние транзакции не позволяет этого",
                "Tranzaksiya holati bunga yoʻl qoʻymaydi",
                "The state of the transaction does not allow this",
            ),
            PaymeFault::UnknownOrder => ("Заказ не найден", "Buyurtma topilmadi", "The order is not known"),
            PaymeFault::NotPayable => (
                "Этот заказ нельзя оплатить: он оплачен, отменён, или его срок истёк",
                "Bu buyurtmani toʻlab boʻlmaydi: u toʻlangan, bekor qilingan yoki muddati oʻtgan",
                "This order cannot be paid: it is paid or canceled, or its time is over",
            ),
            PaymeFault::Busy => (
                "Этот заказ уже оплачивается, подождите",
                "Bu buyurtma uchun toʻlov boshlangan, kutib turing",
                "A payment of this order has begun, please wait",
            ),
            PaymeFault::UnknownReceipt => ("Чек не найден", "Chek topilmadi", "The receipt is not known"),
            PaymeFault::BadFiscalData => {
                ("Данные чека не читаются", "Chek maʼlumotlarini oʻqib boʻlmadi", "The fiscal data cannot be read")
            }
        };
        PayerMessage { ru, uz, en }
    }

    /// The field `data`: the name of the account field for what is wrong with the order (it must be there), and the name of
    /// an unknown method (Payme documents, errors).
    pub(super) fn data<'a>(&'a self, account_field: &'a str) -> Option<&'a str> {
        match self {
            PaymeFault::UnknownOrder | PaymeFault::NotPayable | PaymeFault::Busy => Some(account_field),
            PaymeFault::UnknownMethod(name) => Some(name),
            PaymeFault::NotPost
            | PaymeFault::NotJson
            | PaymeFault::Malformed
            | PaymeFault::NotPrivileged
            | PaymeFault::SystemError
            | PaymeFault::WrongAmount
            | PaymeFault::UnknownTransaction
            | PaymeFault::DeliveredInFull
            | PaymeFault::WrongState
            | PaymeFault::UnknownReceipt
            | PaymeFault::BadFiscalData => None,
        }
    }

    /// The error of a verdict that is none of the method's good ones.
    pub fn of_verdict(verdict: CallbackVerdict) -> PaymeFault {
        match verdict {
            CallbackVerdict::Unreadable => PaymeFault::Malformed,
            CallbackVerdict::BadlySigned | CallbackVerdict::OtherAddress | CallbackVerdict::OtherStore => {
                PaymeFault::NotPrivileged
            }
            CallbackVerdict::UnknownTransaction => PaymeFault::UnknownTransaction,
            CallbackVerdict::UnknownOrder | CallbackVerdict::OtherAccount => PaymeFault::UnknownOrder,
            CallbackVerdict::WrongAmount => PaymeFault::WrongAmount,
            CallbackVerdict::SecondTransaction => PaymeFault::Busy,
            CallbackVerdict::NotPayable | CallbackVerdict::Late => PaymeFault::NotPayable,
            CallbackVerdict::ReversalRefused => PaymeFault::DeliveredInFull,
            // The rest is about the transaction: with these its row has another state than the method leads to.
            CallbackVerdict::Allowed
            | CallbackVerdict::AlreadyPaid
            | CallbackVerdict::Conflicting
            | CallbackVerdict::TimedOut
            | CallbackVerdict::TransactionClosed
            | CallbackVerdict::DebitTold
            | CallbackVerdict::FailureTold
            | CallbackVerdict::ReversalTold => PaymeFault::WrongState,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_error_has_a_code_of_its_own_and_words_in_three_languages() {
        let codes: HashSet<i32> = PaymeFault::ALL.iter().map(PaymeFault::code).collect();
        assert_eq!(codes.len(), PaymeFault::ALL.len());
        for fault in PaymeFault::ALL {
            let PayerMessage { ru, uz, en } = fault.message();
            assert!(ru.chars().any(|sign| ('а'..='я').contains(&sign)), "{ru}");
            assert!(uz.is_ascii() || uz.contains(['ʻ', 'ʼ']), "{uz}");
            assert!(en.is_ascii() && en != uz, "{en}");
        }
    }

    /// `data` with the account field's name is mandatory there, and nowhere else.
    #[test]
    fn an_error_of_the_account_range_names_the_account_field() {
        for fault in PaymeFault::ALL {
            let is_of_account = (-31_099..=-31_050).contains(&fault.code());
            assert_eq!(fault.data("order_id") == Some("order_id"), is_of_account, "{fault:?}");
        }
    }
}
