//! Faults on demand: trouble at a gateway, or between a gateway and a merchant, switched on by name. Each gateway has
//! a list of its own.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// Declares a gateway's faults by group, with the names and descriptions of its `_sim/faults`. The group says which of
/// them can be limited to one call or to one account.
macro_rules! faults {
    (
        $(#[$about:meta])* enum $kind:ident, $group_kind:ident, $call_field:literal of $calls:expr;
        $($group:ident $group_name:literal { $($fault:ident $name:literal $description:literal,)* })*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $kind { $($(#[doc = $description] $fault,)*)* }

        /// The part that a fault affects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum $group_kind { $(#[doc = $group_name] $group,)* }

        impl $kind {
            fn group(self) -> $group_kind {
                match self { $($($kind::$fault)|* => $group_kind::$group,)* }
            }
        }

        impl $crate::faults::FaultKind for $kind {
            const ALL: &'static [Self] = &[$($($kind::$fault,)*)*];
            const CALL_FIELD: &'static str = $call_field;

            fn calls() -> Vec<&'static str> {
                $calls
            }

            fn name(self) -> &'static str {
                match self { $($($kind::$fault => $name,)*)* }
            }

            fn description(self) -> &'static str {
                match self { $($($kind::$fault => $description,)*)* }
            }

            fn group_name(self) -> &'static str {
                match self.group() { $($group_kind::$group => $group_name,)* }
            }

            fn takes_call(self) -> bool {
                self.group().takes_call()
            }

            fn takes_account(self) -> bool {
                self.group().takes_account()
            }
        }
    };
}

pub(crate) use faults;

/// The faults of one gateway.
pub(crate) trait FaultKind: Copy + Send + Sync + 'static {
    /// All faults.
    const ALL: &'static [Self];
    /// The field of a request that limits a fault to one call of the gateway: `path` or `method`.
    const CALL_FIELD: &'static str;

    /// The names of the gateway's calls.
    fn calls() -> Vec<&'static str>;

    /// The name by which it is switched on.
    fn name(self) -> &'static str;

    /// Its effect in one line.
    fn description(self) -> &'static str;

    /// The name of its group.
    fn group_name(self) -> &'static str;

    /// Whether it can be limited to one call.
    fn takes_call(self) -> bool;

    /// Whether it can be limited to one account.
    fn takes_account(self) -> bool;
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
    method: Option<String>,
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
    #[serde(flatten)]
    call: OnlyCall,
    milliseconds: u64,
    times: u32,
}

/// The only call that a fault strikes; null means all.
#[derive(Clone, Debug, PartialEq)]
struct OnlyCall {
    field: &'static str,
    name: Option<String>,
}

impl Serialize for OnlyCall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.field, &self.name)?;
        map.end()
    }
}

impl ActiveFault {
    fn concerns(&self, fault: &str, target: FaultTarget<'_>) -> bool {
        let has_account = match (self.account.as_deref(), target.account) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(account)) => match wanted.strip_suffix('*') {
                Some(prefix) => account.starts_with(prefix),
                None => account == wanted,
            },
        };
        self.fault == fault && has_account && (self.call.name.is_none() || self.call.name.as_deref() == target.call)
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
    #[error("no fault is named {name:?}; the names are {known}")]
    UnknownName { name: String, known: String },
    #[error("`share` is a probability between 0 and 1")]
    Share,
    #[error("`next` is at least 1; leave it out for every call")]
    Next,
    #[error("`{field}` is one of {known}, and only for faults of these calls")]
    Call { field: &'static str, known: String },
    #[error("`account` cannot be used here: what this fault strikes belongs to no account")]
    Account,
    #[error("`times` is from 1 to {MOST_TIMES}")]
    Times,
}

/// A call or a payer's step that a fault could strike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultTarget<'a> {
    /// The name of the call; `None` for a payer's step.
    pub(crate) call: Option<&'a str>,
    /// The account of the transaction, if the call has one.
    pub(crate) account: Option<&'a str>,
}

/// The faults of a gateway that are switched on.
#[derive(Debug)]
pub(crate) struct Faults<Kind> {
    /// Lets calls skip the lock while no fault is switched on.
    any: AtomicBool,
    active: Mutex<Vec<ActiveFault>>,
    kind: PhantomData<Kind>,
}

impl<Kind> Default for Faults<Kind> {
    fn default() -> Self {
        Faults { any: AtomicBool::default(), active: Mutex::default(), kind: PhantomData }
    }
}

impl<Kind: FaultKind> Faults<Kind> {
    /// Switches a fault on. It replaces a fault with the same name, account and call.
    ///
    /// # Errors
    /// [`FaultError`] if the request makes no sense.
    pub(crate) fn add(&self, request: FaultRequest) -> Result<ActiveFault, FaultError> {
        let Some(fault) = Kind::ALL.iter().copied().find(|fault| fault.name() == request.fault) else {
            let names: Vec<_> = Kind::ALL.iter().map(|fault| fault.name()).collect();
            return Err(FaultError::UnknownName { name: request.fault, known: names.join(", ") });
        };
        let share = request.share.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&share) {
            return Err(FaultError::Share);
        }
        if request.next == Some(0) {
            return Err(FaultError::Next);
        }
        let (call, other) = match Kind::CALL_FIELD {
            "path" => (request.path, request.method),
            _ => (request.method, request.path),
        };
        let is_known = call.as_deref().is_none_or(|call| fault.takes_call() && Kind::calls().contains(&call));
        if !is_known || other.is_some() {
            return Err(FaultError::Call { field: Kind::CALL_FIELD, known: Kind::calls().join(", ") });
        }
        if request.account.is_some() && !fault.takes_account() {
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
            call: OnlyCall { field: Kind::CALL_FIELD, name: call },
            milliseconds: request.milliseconds.unwrap_or(200),
            times,
        };
        let mut active = self.active.lock();
        active.retain(|other| (other.fault, &other.account, &other.call) != (added.fault, &added.account, &added.call));
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

    /// The active faults, and all known ones, as `GET /_sim/faults` tells them.
    pub(crate) fn told(&self) -> Value {
        let known: Vec<_> = Kind::ALL
            .iter()
            .map(
                |fault| json!({"fault": fault.name(), "group": fault.group_name(), "description": fault.description()}),
            )
            .collect();
        json!({"active": self.active(), "known": known})
    }

    /// Whether `fault` strikes now. A strike counts towards `next`.
    pub(crate) fn strikes(&self, fault: Kind, target: FaultTarget<'_>) -> Option<Strike> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut active = self.active.lock();
        let place = active
            .iter()
            .position(|other| other.concerns(fault.name(), target) && rand::random::<f64>() < other.share)?;
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
