//! `tasdiq callback sign`: a callback as the gateway would send it, for trying the webhook by hand.

use anyhow::Context;
use gateway::Gateway;
use serde_json::{Map, Value};

use crate::arguments::{AccountField, CallbackCommand, SignArguments};
use crate::config::Config;
use crate::exit::Exit;
use crate::installation::gateways;
use crate::output::print;

/// Prints the body.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn run(config: &Config, command: CallbackCommand) -> Result<(), Exit> {
    let CallbackCommand::Sign(asked) = command;
    Ok(print(&body(config, &asked)?)?)
}

fn body(config: &Config, asked: &SignArguments) -> Result<String, Exit> {
    let gateways = gateways(config, None)?;
    let gateway = gateways.iter().find_map(Gateway::as_atmos).context("no account of Atmos is configured")?;
    let body = gateway.sign_callback(asked.transaction_id, &asked.account, asked.amount.get());
    match asked.field {
        AccountField::Account => Ok(body),
        // The signature is over the values, so another name for one of them leaves it right.
        AccountField::Invoice => {
            let mut fields: Map<String, Value> = serde_json::from_str(&body).context("the body is no JSON object")?;
            let account = fields.remove("account").context("the body has no account")?;
            fields.insert("invoice".to_owned(), account);
            Ok(Value::Object(fields).to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Role;
    use domain::id::TransactionId;
    use domain::money::Tiyin;

    use super::*;

    #[test]
    fn a_callback_made_by_hand_is_believed_under_either_name_of_the_account() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let config = Config::from_environment(Role::Operator, |_| None).unwrap();
        for field in [AccountField::Account, AccountField::Invoice] {
            let asked = SignArguments {
                transaction_id: TransactionId(7),
                account: "3".to_owned(),
                amount: Tiyin::from_som("50.00").unwrap(),
                field,
            };

            let body = body(&config, &asked).unwrap();

            assert!(
                body.contains(if field == AccountField::Invoice { "\"invoice\"" } else { "\"account\"" }),
                "{body}"
            );
            let gateways = gateways(&config, None).unwrap();
            let (_, read) = gateways.read_atmos_callback(body.as_bytes()).unwrap();
            assert_eq!((read.account.as_deref(), read.amount), (Some("3"), Some(5_000)));
        }
    }
}
