//! The faults of Atmos: everything that can go wrong at Atmos, or between Atmos and a merchant.

use crate::atmos::merchant::Call;
use crate::faults::faults;

faults! {
    /// A kind of fault of Atmos.
    enum AtmosFault, AtmosFaultGroup, "path" of Call::PATHS.map(|(_, path)| path).to_vec();

    Token "token" {
        TokenUnavailable "token-unavailable" "/token answers 500 with HTML",
        TokenSlow "token-slow" "/token answers `milliseconds` late",
    }
    Call "call" {
        TokenRejected "token-rejected" "merchant calls answer 401, whatever the token",
        TokenRevoked "token-revoked" "before a merchant call another login gets a new token, which makes the caller's token void",
        Latency "latency" "merchant calls wait `milliseconds` (default 200), then do their work and answer",
        Unavailable "unavailable" "merchant calls answer 503 and do nothing",
        ServerError "server-error" "merchant calls answer 500 with HTML and do nothing",
        Forbidden "forbidden" "merchant calls answer 403 with HTML and do nothing, as for an address that is not registered",
        Throttled "throttled" "merchant calls answer 429 and do nothing; Retry-After is `milliseconds`, rounded up to seconds",
        Html "html" "merchant calls do their work and answer 200 with an HTML page",
        Empty "empty" "merchant calls do their work and answer 200 with nothing",
        Malformed "malformed" "merchant calls do their work and answer 200 with half of the JSON",
        AnswerLost "answer-lost" "merchant calls do their work, then the connection closes without an answer",
        AnswerLate "answer-late" "merchant calls do their work at once and answer `milliseconds` late: long ones are timeouts after success",
    }
    Shape "shape" {
        UnknownCode "unknown-code" "merchant calls do their work and answer only an unknown result.code",
        NoStoreTransaction "no-store-transaction" "merchant calls do their work and leave store_transaction out",
        OtherTypes "other-types" "merchant calls answer numbers as strings, and strings of digits as numbers",
        ExtraFields "extra-fields" "merchant calls answer with unknown fields, in every object",
    }
    Callback "callback" {
        CallbackNever "callback-never" "debits without asking the merchant",
        CallbackLate "callback-late" "debits without asking, and sends the callback `milliseconds` after the payer was answered",
        CallbackEarly "callback-early" "the payer pays within create, so that the callback comes before create's answer",
        CallbackDoubled "callback-doubled" "sends the callback twice at the same time; the first copy's answer decides",
        CallbackRepeated "callback-repeated" "sends the callback `times` times (default 3), one after another; the last answer decides",
        CallbackReplayed "callback-replayed" "sends exactly the same callback again, `milliseconds` after the payer was answered",
        CallbackBadlySigned "callback-badly-signed" "sends a callback with a wrong signature instead of the right one",
        CallbackUnsigned "callback-unsigned" "sends a callback without a signature",
        CallbackUppercaseSign "callback-uppercase-sign" "writes the right signature in upper case",
        CallbackWrongAmount "callback-wrong-amount" "sends a correctly signed callback over 1 tiyin instead of the right one",
        CallbackDecimalAmount "callback-decimal-amount" "writes and signs the amount as `5000000.0`",
        CallbackWrongStore "callback-wrong-store" "sends a correctly signed callback for another store instead of the right one",
        CallbackUnknownTransaction "callback-unknown-transaction" "sends a correctly signed callback for an unknown transaction instead of the right one",
        CallbackUnknownAccount "callback-unknown-account" "sends a correctly signed callback for an unknown account, with three more digits",
        CallbackSlid "callback-slid" "moves the account's last digit to the front of the amount, which leaves the signature valid",
        CallbackInvoice "callback-invoice" "calls the account `invoice` in the callback, as Atmos' documentation does",
        CallbackBoth "callback-both" "sends the account twice in the callback, as `account` and as `invoice`",
        CallbackNumbers "callback-numbers" "writes the callback's numeric values as JSON numbers, as older examples do",
        CallbackForm "callback-form" "sends the callback as a form instead of JSON",
        CallbackOtherAddress "callback-other-address" "sends the callback from 127.0.0.2 (on Linux, to a merchant on this machine)",
    }
    Outcome "outcome" {
        DebitAlthoughRefused "debit-although-refused" "debits although the merchant refused, and tells the payer that it is paid",
        DebitDeclined "debit-declined" "the bank declines after the merchant allowed: ERR-112, no money moves",
        Lapsed "lapsed" "the transaction closes unpaid after the merchant allowed: ERR-092",
        ReversedLater "reversed-later" "debits, and gives the money back `milliseconds` later without the merchant asking",
        AmountDiffers "amount-differs" "get shows 100 tiyin more than the transaction has",
        StatusUnknown "status-unknown" "get shows an unknown status_code for a paid transaction",
        PaidAsClosed "paid-as-closed" "get answers ERR-092 for a paid transaction, with store_transaction showing the debit",
    }
}

impl AtmosFaultGroup {
    fn takes_call(self) -> bool {
        match self {
            AtmosFaultGroup::Call | AtmosFaultGroup::Shape => true,
            AtmosFaultGroup::Token | AtmosFaultGroup::Callback | AtmosFaultGroup::Outcome => false,
        }
    }

    /// A call of `/token` belongs to no account.
    fn takes_account(self) -> bool {
        match self {
            AtmosFaultGroup::Token => false,
            AtmosFaultGroup::Call | AtmosFaultGroup::Shape | AtmosFaultGroup::Callback | AtmosFaultGroup::Outcome => {
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
