//! The faults of Click: everything that can go wrong at Click, or between Click and a merchant.

use crate::faults::faults;

/// The calls of SHOP-API, as `path` names them.
pub(crate) const PREPARE: &str = "prepare";
/// See [`PREPARE`].
pub(crate) const COMPLETE: &str = "complete";

/// What a fault can be limited to: Prepare, Complete, and the calls of the Merchant API.
const PATHS: [&str; 6] =
    [PREPARE, COMPLETE, "payment/status", "payment/status_by_mti", "payment/reversal", "payment/partial_reversal"];

faults! {
    /// A kind of fault of Click.
    enum ClickSimFault, ClickSimFaultGroup, "path" of PATHS.to_vec();

    ShopApi "shop-api" {
        WrongKey "wrong-key" "signs the call with another key",
        Unsigned "unsigned" "sends the call without `sign_string`",
        WrongAmount "wrong-amount" "sends a correctly signed call over 1 soʻm instead of the right one",
        WrongService "wrong-service" "sends a correctly signed call of another service instead of the right one",
        UnknownAccount "unknown-account" "sends a correctly signed call for an unknown order, with three more digits, instead of the right one",
        UnknownPrepare "unknown-prepare" "sends Complete, correctly signed, with a `merchant_prepare_id` that was never given",
        Slid "slid" "moves a digit over the boundary to the amount (Prepare: from the order's number, Complete: from `merchant_prepare_id`), which leaves the signature valid",
        Doubled "doubled" "sends the call twice at the same time; the first copy's answer decides",
        Repeated "repeated" "sends the call `times` times (default 3), one after another; the last answer decides",
        Replayed "replayed" "sends exactly the same call again, `milliseconds` after the payer was answered",
        Json "json" "sends the call as JSON instead of a form",
        ShortAmount "short-amount" "writes and signs the amount as `1000` instead of `1000.00`, if it has no tiyin",
        UppercaseSign "uppercase-sign" "writes the right signature in upper case",
        MoreFields "more-fields" "sends a field that no documentation has",
        OtherAddress "other-address" "sends the call from 127.0.0.2 (on Linux, to a merchant on this machine)",
    }
    Complete "complete" {
        CompleteNever "complete-never" "debits, and sends no Complete",
        CompleteLate "complete-late" "debits, and sends Complete `milliseconds` after the payer was answered",
        CompleteAltered "complete-altered" "after a Complete with an error sends the same one again with `error` 0, whose signature is as valid",
    }
    Outcome "outcome" {
        DebitDeclined "debit-declined" "the bank declines after Prepare was answered: Complete with -5017, no money moves",
        PayerLeaves "payer-leaves" "the payer leaves after Prepare: no debit, and no Complete until `/click/_sim/resume`",
        PrepareNever "prepare-never" "debits without asking the merchant, and sends no Complete",
        ReversedLater "reversed-later" "debits, and gives the money back `milliseconds` later without the merchant asking",
        UzcardRefuses "uzcard-refuses" "cards that begin with 8600 or 5614 are not reversed",
        StatusProcessing "status-processing" "the Merchant API shows a paid payment with payment_status 1",
        StatusUnknown "status-unknown" "the Merchant API shows a paid payment with payment_status 7, which no documentation has",
        StatusFailed "status-failed" "the Merchant API shows a paid payment with payment_status -1",
    }
    Api "api" {
        ApiSlow "api-slow" "the Merchant API waits `milliseconds`, then does its work and answers",
        ApiUnavailable "api-unavailable" "the Merchant API answers 502 with HTML and does nothing, as Click documents it for an upgrade",
        ApiServerError "api-server-error" "the Merchant API answers 500 with HTML and does nothing",
        ApiUnauthorized "api-unauthorized" "the Merchant API answers 401, whatever `Auth` says",
        ApiForbidden "api-forbidden" "the Merchant API answers 403 with HTML and does nothing",
        ApiThrottled "api-throttled" "the Merchant API answers 429 and does nothing; Retry-After is `milliseconds`, rounded up to seconds",
        ApiErrorCode "api-error-code" "the Merchant API does nothing and answers 200 with an `error_code` that no documentation has",
        ApiHtml "api-html" "the Merchant API does its work and answers 200 with an HTML page",
        ApiEmpty "api-empty" "the Merchant API does its work and answers 200 with nothing",
        ApiMalformed "api-malformed" "the Merchant API does its work and answers 200 with half of the JSON",
        ApiOtherTypes "api-other-types" "the Merchant API writes numbers as strings",
        ApiAnswerLost "api-answer-lost" "the Merchant API does its work, then the connection closes without an answer",
        ApiAnswerLate "api-answer-late" "the Merchant API does its work at once and answers `milliseconds` late: long ones are timeouts after success",
    }
    Mti "mti" {
        MtiAnotherAttempt "mti-another-attempt" "status_by_mti answers about the oldest attempt of that day, whether it was paid or not",
        MtiNothing "mti-nothing" "status_by_mti finds nothing, and answers 200 with a negative `error_code`",
        MtiNotFound "mti-not-found" "status_by_mti finds nothing, and answers 404",
        MtiWithoutStatus "mti-without-status" "status_by_mti answers `merchant_trans_id` instead of `payment_status`, as an example of the documentation does",
        MtiAsList "mti-as-list" "status_by_mti answers a list with one object, as some clients expect",
    }
}

impl ClickSimFaultGroup {
    fn takes_call(self) -> bool {
        match self {
            ClickSimFaultGroup::ShopApi | ClickSimFaultGroup::Api => true,
            ClickSimFaultGroup::Complete | ClickSimFaultGroup::Outcome | ClickSimFaultGroup::Mti => false,
        }
    }

    /// Everything at Click belongs to an order.
    fn takes_account(self) -> bool {
        match self {
            ClickSimFaultGroup::ShopApi
            | ClickSimFaultGroup::Complete
            | ClickSimFaultGroup::Outcome
            | ClickSimFaultGroup::Api
            | ClickSimFaultGroup::Mti => true,
        }
    }
}
