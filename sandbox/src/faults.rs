//! Trouble on demand: what can go wrong at Atmos, or between Atmos and a merchant, switched on by name.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Declares the faults with their names and what `GET /_sim/faults` says of them.
macro_rules! faults {
    ($($fault:ident $name:literal $description:literal,)*) => {
        /// A kind of trouble.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $(#[doc = $description] $fault,)* }

        impl Fault {
            /// Every fault there is.
            pub(crate) const ALL: &[Self] = &[$(Self::$fault,)*];

            /// The name by which it is switched on.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }

            /// What it does, in one line.
            pub(crate) fn description(self) -> &'static str {
                match self { $(Self::$fault => $description,)* }
            }
        }
    };
}

faults! {
    Latency "latency" "merchant calls are answered `milliseconds` late (default 200)",
    Unavailable "unavailable" "merchant calls answer 503 and do nothing",
    ServerError "server-error" "merchant calls answer 500 with HTML and do nothing",
    Forbidden "forbidden" "merchant calls answer 403 with HTML and do nothing, as for an address that is not registered",
    Throttled "throttled" "merchant calls answer 429 and do nothing; Retry-After is `milliseconds`, rounded up to seconds",
    TokenRejected "token-rejected" "merchant calls answer 401, whatever the token",
    TokenUnavailable "token-unavailable" "/token answers 500 with HTML",
    Malformed "malformed" "merchant calls do their work and answer 200 with half of the JSON",
    AnswerLost "answer-lost" "merchant calls do their work, then the connection closes without an answer",
    UnknownCode "unknown-code" "merchant calls do their work and answer a result.code nobody knows, and nothing else",
    CallbackNever "callback-never" "debits without asking the merchant",
    CallbackLate "callback-late" "debits without asking, and sends the callback `milliseconds` after the payer was answered",
    CallbackDoubled "callback-doubled" "sends the callback twice at the same time; the first copy's answer decides",
    CallbackBadlySigned "callback-badly-signed" "sends a callback with a wrong signature instead of the right one",
    CallbackWrongAmount "callback-wrong-amount" "sends a rightly signed callback over 1 tiyin instead of the right one",
    CallbackWrongStore "callback-wrong-store" "sends a rightly signed callback for another store instead of the right one",
    CallbackUnknownTransaction "callback-unknown-transaction" "sends a rightly signed callback for a transaction nobody made instead of the right one",
    CallbackSlid "callback-slid" "moves the account's last digit to the amount's front, which leaves the signature right",
    CallbackInvoice "callback-invoice" "calls the account `invoice` in the callback, as Atmos' documentation does",
    CallbackBoth "callback-both" "sends the account twice in the callback, as `account` and as `invoice`",
    CallbackNumbers "callback-numbers" "writes the callback's values as JSON numbers where they are such, as older examples do",
    DebitAlthoughRefused "debit-although-refused" "debits although the merchant refused, and tells the payer it is paid",
    DebitDeclined "debit-declined" "the bank declines after the merchant allowed: ERR-112, no money moves",
    Lapsed "lapsed" "the transaction closes unpaid after the merchant allowed: ERR-092",
    AmountDiffers "amount-differs" "get shows 100 tiyin more than the transaction has",
    PaidAsClosed "paid-as-closed" "get answers ERR-092 for a paid transaction, with store_transaction showing the debit",
}

impl Fault {
    fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }

    /// Whether it strikes calls of the merchant API, so that it can be narrowed to one path.
    fn strikes_merchant_calls(self) -> bool {
        matches!(
            self,
            Self::Latency
                | Self::Unavailable
                | Self::ServerError
                | Self::Forbidden
                | Self::Throttled
                | Self::TokenRejected
                | Self::Malformed
                | Self::AnswerLost
                | Self::UnknownCode
        )
    }
}

/// A fault as it is asked for over `POST /_sim/faults`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRequest {
    fault: String,
    share: Option<f64>,
    next: Option<u64>,
    account: Option<String>,
    path: Option<String>,
    milliseconds: Option<u64>,
}

/// A fault that is switched on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ActiveFault {
    fault: &'static str,
    /// How likely it strikes a matching call, 0 to 1.
    share: f64,
    /// How often it will strike yet; null is for ever.
    next: Option<u64>,
    /// The only account it strikes; null is all.
    account: Option<String>,
    /// The only path it strikes; null is all.
    path: Option<String>,
    milliseconds: u64,
}

/// Why a fault cannot be switched on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FaultError {
    #[error("no fault is named {name:?}; there are {}", names())]
    UnknownName { name: String },
    #[error("`share` is a probability between 0 and 1")]
    Share,
    #[error("`next` is at least 1; leave it out for every call")]
    Next,
    #[error("`path` is one of the merchant API's, and only for faults that strike its calls")]
    Path,
}

fn names() -> String {
    let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    names.join(", ")
}

/// What a fault could strike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// The path that was called; `None` for what the payer does.
    pub(crate) path: Option<&'a str>,
    /// The account of the transaction, if the call has one.
    pub(crate) account: Option<&'a str>,
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Spares calls the lock while nothing is switched on.
    any: AtomicBool,
    active: Mutex<Vec<ActiveFault>>,
}

impl Faults {
    /// Switches a fault on. One of the same name, account and path is replaced.
    ///
    /// # Errors
    /// [`FaultError`], when the request makes no sense.
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
        let added = ActiveFault {
            fault: fault.name(),
            share,
            next: request.next,
            account: request.account,
            path: request.path,
            milliseconds: request.milliseconds.unwrap_or(200),
        };
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.retain(|other| (other.fault, &other.account, &other.path) != (added.fault, &added.account, &added.path));
        active.push(added.clone());
        self.any.store(true, Ordering::Release);
        Ok(added)
    }

    /// Switches everything off.
    pub(crate) fn clear(&self) {
        self.any.store(false, Ordering::Release);
        self.active.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What is switched on.
    pub(crate) fn active(&self) -> Vec<ActiveFault> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `fault` strikes now, and its `milliseconds`. A strike counts towards `next`.
    pub(crate) fn strikes(&self, fault: Fault, target: Target<'_>) -> Option<Duration> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let place = active.iter().position(|other| {
            other.fault == fault.name()
                && (other.account.is_none() || other.account.as_deref() == target.account)
                && (other.path.is_none() || other.path.as_deref() == target.path)
                && rand::random::<f64>() < other.share
        })?;
        let struck = active.get_mut(place)?;
        let delay = Duration::from_millis(struck.milliseconds);
        if let Some(next) = &mut struck.next {
            *next = next.saturating_sub(1);
            if *next == 0 {
                active.remove(place);
            }
        }
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: &[&str] = &["/merchant/pay/create", "/merchant/pay/get"];
    const ANYTHING: Target<'_> = Target { path: None, account: None };

    fn request(json: &str) -> FaultRequest {
        serde_json::from_str(json).expect("a request")
    }

    #[test]
    fn a_fault_for_the_next_two_calls_strikes_twice() {
        let faults = Faults::default();
        faults.add(request(r#"{"fault":"callback-never","next":2}"#), PATHS).expect("a fault");

        let strikes = (0..5).filter(|_| faults.strikes(Fault::CallbackNever, ANYTHING).is_some()).count();

        assert_eq!(strikes, 2);
        assert!(faults.active().is_empty());
    }

    #[test]
    fn a_fault_for_one_account_spares_the_others() {
        let faults = Faults::default();
        faults.add(request(r#"{"fault":"lapsed","account":"7"}"#), PATHS).expect("a fault");
        let target = |account| Target { path: None, account: Some(account) };

        assert!(faults.strikes(Fault::Lapsed, target("7")).is_some());
        assert!(faults.strikes(Fault::Lapsed, target("8")).is_none());
        assert!(faults.strikes(Fault::Lapsed, ANYTHING).is_none());
        assert!(faults.strikes(Fault::Latency, target("7")).is_none());
    }

    #[test]
    fn a_fault_for_one_path_spares_the_others() {
        let faults = Faults::default();
        faults
            .add(request(r#"{"fault":"latency","path":"/merchant/pay/get","milliseconds":5}"#), PATHS)
            .expect("a fault");
        let target = |path| Target { path: Some(path), account: None };

        assert_eq!(faults.strikes(Fault::Latency, target("/merchant/pay/get")), Some(Duration::from_millis(5)));
        assert!(faults.strikes(Fault::Latency, target("/merchant/pay/create")).is_none());
    }

    #[test]
    fn a_share_strikes_some_calls_and_spares_some() {
        let faults = Faults::default();
        faults.add(request(r#"{"fault":"lapsed","share":0.5}"#), PATHS).expect("a fault");

        let strikes = (0..1_000).filter(|_| faults.strikes(Fault::Lapsed, ANYTHING).is_some()).count();

        assert!((350..650).contains(&strikes), "{strikes} of 1000");
    }

    #[test]
    fn nonsense_is_refused_and_the_known_names_are_told() {
        let faults = Faults::default();

        let error = faults.add(request(r#"{"fault":"calback-never"}"#), PATHS).expect_err("no such fault").to_string();
        assert!(error.contains("callback-never") && error.contains("latency"), "{error}");

        for nonsense in [
            r#"{"fault":"latency","share":1.5}"#,
            r#"{"fault":"latency","next":0}"#,
            r#"{"fault":"latency","path":"/nowhere"}"#,
            r#"{"fault":"lapsed","path":"/merchant/pay/get"}"#,
        ] {
            assert!(faults.add(request(nonsense), PATHS).is_err(), "{nonsense}");
        }
        assert!(faults.active().is_empty());
    }

    #[test]
    fn a_cleared_fault_strikes_no_more() {
        let faults = Faults::default();
        faults.add(request(r#"{"fault":"latency"}"#), PATHS).expect("a fault");

        faults.clear();

        assert!(faults.strikes(Fault::Latency, ANYTHING).is_none());
    }
}
