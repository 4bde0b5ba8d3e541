//! Faults on demand: everything that can go wrong at Atmos, or between Atmos and a merchant, switched on by name.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Declares the faults by group, with the names and descriptions of `GET /_sim/faults`.
macro_rules! faults {
    ($($group:ident $group_name:literal { $($fault:ident $name:literal $description:literal,)* })*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[doc = $description] $fault,)*)* }

        /// The part that a fault affects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum FaultGroup { $(#[doc = $group_name] $group,)* }

        impl Fault {
            /// All faults.
            pub(crate) const ALL: &[Fault] = &[$($(Fault::$fault,)*)*];

            /// The name by which it is switched on.
            pub(crate) fn name(self) -> &'static str {
                match self { $($(Fault::$fault => $name,)*)* }
            }

            /// Its effect in one line.
            pub(crate) fn description(self) -> &'static str {
                match self { $($(Fault::$fault => $description,)*)* }
            }

            fn group(self) -> FaultGroup {
                match self { $($(Fault::$fault)|* => FaultGroup::$group,)* }
            }
        }

        impl FaultGroup {
            fn name(self) -> &'static str {
                match self { $(FaultGroup::$group => $group_name,)* }
            }
        }
    };
}

faults! {
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

impl Fault {
    fn find(name: &str) -> Option<Self> {
        Fault::ALL.iter().copied().find(|fault| fault.name() == name)
    }

    /// Its group: `token`, `call`, `shape`, `callback` or `outcome`.
    pub(crate) fn group_name(self) -> &'static str {
        self.group().name()
    }

    /// Whether it strikes calls of the merchant API, so that it can be limited to one path.
    fn strikes_merchant_calls(self) -> bool {
        match self.group() {
            FaultGroup::Call | FaultGroup::Shape => true,
            FaultGroup::Token | FaultGroup::Callback | FaultGroup::Outcome => false,
        }
    }

    /// Whether it strikes things that belong to an account.
    fn knows_accounts(self) -> bool {
        match self.group() {
            FaultGroup::Token => false,
            FaultGroup::Call | FaultGroup::Shape | FaultGroup::Callback | FaultGroup::Outcome => true,
        }
    }
}

/// A request to switch on a fault (`POST /_sim/faults`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRequest {
    fault: String,
    share: Option<f64>,
    next: Option<u64>,
    account: Option<String>,
    path: Option<String>,
    milliseconds: Option<u64>,
    times: Option<u32>,
}

/// A fault that is switched on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ActiveFault {
    fault: &'static str,
    /// The probability that it strikes a matching call, 0 to 1.
    share: f64,
    /// How many more times it strikes; null means without end.
    next: Option<u64>,
    /// The only account it strikes; with a `*` at its end, all accounts with this prefix; null means all.
    account: Option<String>,
    /// The only path it strikes; null means all.
    path: Option<String>,
    milliseconds: u64,
    times: u32,
}

impl ActiveFault {
    fn concerns(&self, fault: Fault, target: FaultTarget<'_>) -> bool {
        let has_account = match (self.account.as_deref(), target.account) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(account)) => match wanted.strip_suffix('*') {
                Some(prefix) => account.starts_with(prefix),
                None => account == wanted,
            },
        };
        self.fault == fault.name() && has_account && (self.path.is_none() || self.path.as_deref() == target.path)
    }
}

/// A fault that has struck, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    /// The fault's `milliseconds`.
    pub(crate) delay: Duration,
    /// The fault's `times`.
    pub(crate) times: u32,
}

/// The greatest `times`: each copy waits for the merchant.
const MOST_TIMES: u32 = 100;

/// Why a fault cannot be switched on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FaultError {
    #[error("no fault is named {name:?}; the names are {}", names())]
    UnknownName { name: String },
    #[error("`share` is a probability between 0 and 1")]
    Share,
    #[error("`next` is at least 1; leave it out for every call")]
    Next,
    #[error("`path` is a path of the merchant API, and only for faults of its calls")]
    Path,
    #[error("`account` cannot be used here: a call of /token belongs to no account")]
    Account,
    #[error("`times` is from 1 to {MOST_TIMES}")]
    Times,
}

fn names() -> String {
    let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    names.join(", ")
}

/// A call or a payer's step that a fault could strike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultTarget<'a> {
    /// The path of the call; `None` for a payer's step.
    pub(crate) path: Option<&'a str>,
    /// The account of the transaction, if the call has one.
    pub(crate) account: Option<&'a str>,
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Lets calls skip the lock while no fault is switched on.
    any: AtomicBool,
    active: Mutex<Vec<ActiveFault>>,
}

impl Faults {
    /// Switches a fault on. It replaces a fault with the same name, account and path.
    ///
    /// # Errors
    /// [`FaultError`] if the request makes no sense.
    pub(crate) fn add(&self, request: FaultRequest, known_paths: &[&str]) -> Result<ActiveFault, FaultError> {
        let Some(fault) = Fault::find(&request.fault) else {
            return Err(FaultError::UnknownName { name: request.fault });
        };
        let share = request.share.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&share) {
            return Err(FaultError::Share);
        }
        if request.next == Some(0) {
            return Err(FaultError::Next);
        }
        if let Some(path) = &request.path
            && !(fault.strikes_merchant_calls() && known_paths.contains(&path.as_str()))
        {
            return Err(FaultError::Path);
        }
        if request.account.is_some() && !fault.knows_accounts() {
            return Err(FaultError::Account);
        }
        let times = request.times.unwrap_or(3);
        if !(1..=MOST_TIMES).contains(&times) {
            return Err(FaultError::Times);
        }
        let added = ActiveFault {
            fault: fault.name(),
            share,
            next: request.next,
            account: request.account,
            path: request.path,
            milliseconds: request.milliseconds.unwrap_or(200),
            times,
        };
        let mut active = self.active.lock();
        active.retain(|other| (other.fault, &other.account, &other.path) != (added.fault, &added.account, &added.path));
        active.push(added.clone());
        self.any.store(true, Ordering::Release);
        Ok(added)
    }

    /// Switches all faults off.
    pub(crate) fn clear(&self) {
        self.any.store(false, Ordering::Release);
        self.active.lock().clear();
    }

    /// The active faults.
    pub(crate) fn active(&self) -> Vec<ActiveFault> {
        self.active.lock().clone()
    }

    /// Whether `fault` strikes now. A strike counts towards `next`.
    pub(crate) fn strikes(&self, fault: Fault, target: FaultTarget<'_>) -> Option<Strike> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut active = self.active.lock();
        let place =
            active.iter().position(|other| other.concerns(fault, target) && rand::random::<f64>() < other.share)?;
        let struck = active.get_mut(place)?;
        let strike = Strike { delay: Duration::from_millis(struck.milliseconds), times: struck.times };
        if let Some(next) = &mut struck.next {
            *next = next.saturating_sub(1);
            if *next == 0 {
                active.remove(place);
            }
        }
        Some(strike)
    }
}

#[cfg(test)]
mod tests;
