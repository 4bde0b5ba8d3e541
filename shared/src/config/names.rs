//! The variables there are, and which role reads which.

use super::Role;

/// Every variable of the contract. A name that begins like ours and is not here earns a warning.
const VARIABLES: &[&str] = &[
    "ATMOS_API_KEY",
    "ATMOS_BASE_URL",
    "ATMOS_CALLBACK_ADDRESSES",
    "ATMOS_CALLBACK_ADDRESS_CHECK",
    "ATMOS_CHECKOUT_URL",
    "ATMOS_CONSUMER_KEY",
    "ATMOS_CONSUMER_SECRET",
    "ATMOS_PROXY_URL",
    "ATMOS_SIGN_ALGORITHM",
    "ATMOS_STORE_ID",
    "ATMOS_TERMINAL_ID",
    "ATMOS_TEST_MODE",
    "DATABASE_URL",
    "REDIS_URL",
    "TASDIQ_API_KEYS",
    "TASDIQ_DATABASE_CONNECTIONS",
    "TASDIQ_DATA_DIR",
    "TASDIQ_ENV_FILE",
    "TASDIQ_GATEWAY_RATE",
    "TASDIQ_LINK_TTL_HOURS",
    "TASDIQ_LINK_WAIT_MS",
    "TASDIQ_LISTEN",
    "TASDIQ_LOG",
    "TASDIQ_LOG_FORMAT",
    "TASDIQ_PAYMENT_TTL_MINUTES",
    "TASDIQ_PUBLIC_URL",
    "TASDIQ_SANDBOX_LISTEN",
    "TASDIQ_SETTLE_SCHEDULE",
    "TASDIQ_STOP_GRACE_SECONDS",
    "TASDIQ_SWEEP_SECONDS",
    "TASDIQ_TRUSTED_PROXIES",
    "TASDIQ_WEBHOOK_LISTEN",
    "TASDIQ_WORKER_LISTEN",
];

/// Whether a role uses a variable; one it does not use cannot keep it from starting.
pub(super) fn reads(role: Role, name: &str) -> bool {
    match role {
        Role::Up | Role::Api => true,
        Role::Worker => {
            !matches!(
                name,
                "TASDIQ_API_KEYS" | "TASDIQ_LINK_WAIT_MS" | "TASDIQ_TRUSTED_PROXIES" | "TASDIQ_WEBHOOK_LISTEN"
            ) && !name.starts_with("ATMOS_CALLBACK_")
        }
        // What leads to the installation and its gateway. The rest is for its processes: an operator must get in
        // when they do not start.
        Role::Operator => {
            name.starts_with("ATMOS_") && !name.starts_with("ATMOS_CALLBACK_")
                || matches!(
                    name,
                    "DATABASE_URL"
                        | "REDIS_URL"
                        | "TASDIQ_DATA_DIR"
                        | "TASDIQ_GATEWAY_RATE"
                        | "TASDIQ_LOG"
                        | "TASDIQ_LOG_FORMAT"
                        | "TASDIQ_SANDBOX_LISTEN"
                )
        }
        Role::Migrate => matches!(name, "DATABASE_URL" | "TASDIQ_LOG" | "TASDIQ_LOG_FORMAT"),
        Role::Sandbox => matches!(
            name,
            "TASDIQ_DATA_DIR"
                | "ATMOS_SIGN_ALGORITHM"
                | "TASDIQ_LOG"
                | "TASDIQ_LOG_FORMAT"
                | "TASDIQ_SANDBOX_LISTEN"
                | "TASDIQ_STOP_GRACE_SECONDS"
        ),
    }
}

/// Variables that hold a secret. Each may stand in a file instead, whose path is in the variable of that name with `_FILE`
/// behind it, as container platforms hand out secrets.
pub(super) const SECRETS: [&str; 7] = [
    "ATMOS_API_KEY",
    "ATMOS_CONSUMER_KEY",
    "ATMOS_CONSUMER_SECRET",
    "ATMOS_PROXY_URL",
    "DATABASE_URL",
    "REDIS_URL",
    "TASDIQ_API_KEYS",
];

/// What the name of such a file's variable ends with.
pub(super) const FILE: &str = "_FILE";

/// Whether a name begins as ours do.
pub(super) fn looks_like_ours(name: &str) -> bool {
    name.starts_with("TASDIQ_") || name.starts_with("ATMOS_")
}

/// The secret whose file the variable names, if it is such a variable.
pub(super) fn secret_of(name: &str) -> Option<&'static str> {
    let secret = name.strip_suffix(FILE)?;
    SECRETS.into_iter().find(|known| *known == secret)
}

/// The variable of ours that this name sets, by its value or by a file.
pub(super) fn known(name: &str) -> Option<&'static str> {
    VARIABLES.iter().copied().find(|known| *known == name).or_else(|| secret_of(name))
}

/// Kubernetes sets such names in every pod beside a service called `tasdiq-…`.
pub(super) fn is_kubernetes_service(name: &str) -> bool {
    name.contains("_SERVICE_") || name.contains("_PORT_") || name.ends_with("_PORT")
}

/// At most this many slips make another name of a name.
const NEAR: usize = 3;

pub(super) fn near_names(name: &str) -> Vec<String> {
    let mut near: Vec<(usize, String)> = VARIABLES
        .iter()
        .map(|known| (*known).to_owned())
        .chain(SECRETS.into_iter().map(|name| format!("{name}{FILE}")))
        .map(|known| (strsim::levenshtein(name, &known), known))
        // A name that stops short, such as `ATMOS_CHECKOUT`, is as clear as one with a slip.
        .filter(|(edits, known)| *edits <= NEAR || known.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')))
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, known)| known).take(2).collect()
}
