//! The faults of Payme: trouble of its calls, of what a payer does, and of the money.

use super::wire::PaymeMethod;
use crate::faults::faults;

faults! {
    /// A kind of fault of Payme.
    enum SimPaymeFault, PaymeFaultGroup, "method" of PaymeMethod::ALL.map(PaymeMethod::name).to_vec();

    Call "call" {
        AnswerLost "answer-lost" "calls the merchant, and takes the answer for lost: the call is repeated",
        Doubled "doubled" "sends the call `times` times at the same time; the first copy's answer decides",
        Repeated "repeated" "sends the call `times` times, one after another; the last answer decides",
        WrongKey "wrong-key" "sends the call with a wrong key",
        NoKey "no-key" "sends the call without a key",
        Slow "slow" "sends half of the body, and the rest `milliseconds` later (to http only)",
        Broken "broken" "sends half of the body and closes the connection (to http only); the call is repeated",
        JsonRpc "json-rpc" "sends the call as application/json with a member `jsonrpc`, as Payme's own test page does",
        AccountNumbers "account-numbers" "writes account values that are numbers as JSON numbers",
        OtherAddress "other-address" "sends the call from 127.0.0.2 (on Linux, to a merchant on this machine)",
    }
    Payer "payer" {
        AmountAltered "amount-altered" "the payer lowers the link's amount by 1 tiyin (raises 1 tiyin to 2)",
        AccountAltered "account-altered" "the payer appends 000 to the link's account",
        AccountMissing "account-missing" "the payer renames the link's account field",
        CheckSkipped "check-skipped" "Create comes without a Check before it",
        Rival "rival" "another payer's Create for the same order goes out at the same time",
        PerformEarly "perform-early" "debits, and Perform goes out together with Create, before its answer",
        PayerLeaves "payer-leaves" "the payer leaves after Create: nothing more happens until 12 hours are over",
    }
    Money "money" {
        DebitDeclined "debit-declined" "the debit fails after Create: Cancel with reason 2",
        PerformLate "perform-late" "debits, and sends Perform `milliseconds` after the payer was answered",
        RefundedLater "refunded-later" "pays, and cancels with reason 5 `milliseconds` later, as a refund in the cabinet",
        TimeoutUntold "timeout-untold" "after 12 hours the receipt ends without a Cancel",
    }
}

impl PaymeFaultGroup {
    fn takes_call(self) -> bool {
        match self {
            PaymeFaultGroup::Call => true,
            PaymeFaultGroup::Payer | PaymeFaultGroup::Money => false,
        }
    }

    /// A statement belongs to no account, but the other calls do.
    fn takes_account(self) -> bool {
        match self {
            PaymeFaultGroup::Call | PaymeFaultGroup::Payer | PaymeFaultGroup::Money => true,
        }
    }
}
