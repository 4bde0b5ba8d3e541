//! `tasdiq callback sign`: a callback as the gateway would send it, for trying the webhook by hand.

use anyhow::Context;
use gateway::atmos::AtmosGateway;
use gateway::{Gateway, Gateways};
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
    let gateway = account(&gateways, asked.gateway.as_deref())?;
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

/// The account of Atmos that is asked for; without a name the only one.
///
/// # Errors
/// There is no such account, or there are several.
fn account<'a>(gateways: &'a Gateways, name: Option<&str>) -> Result<&'a AtmosGateway, Exit> {
    let of_atmos: Vec<&AtmosGateway> = gateways.iter().filter_map(Gateway::as_atmos).collect();
    let fits = |account: &&&AtmosGateway| name.is_none_or(|name| account.identity().0 == name);
    let named: Vec<&AtmosGateway> = of_atmos.iter().filter(fits).copied().collect();
    let list = || of_atmos.iter().map(|account| account.identity().0.as_str()).collect::<Vec<_>>().join(", ");
    match (named.as_slice(), name) {
        ([one], _) => Ok(one),
        (_, _) if of_atmos.is_empty() => Err(Exit::failed(
            "no account of Atmos is configured; of the other gateways `tasdiq sandbox check payme URL` and `tasdiq sandbox \
             check click URL` make calls",
        )),
        ([], Some(name)) => Err(Exit::failed(format!("there is no account {name} of Atmos; there are: {}", list()))),
        (_, _) => {
            Err(Exit::failed(format!("there are several accounts of Atmos; name one with --gateway: {}", list())))
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
                gateway: None,
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

    #[test]
    fn of_several_accounts_one_must_be_named() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let of_store = |store_id: &str| {
            let settings =
                gateway::atmos::AtmosSettings { store_id: store_id.to_owned(), ..config::defaults().unwrap() };
            let settings = gateway::AccountSettings::Atmos(settings);
            settings.gateway(settings.coordination(None, false)).unwrap()
        };
        let [none, one, two] =
            [Gateways::new([]), Gateways::new([of_store("1")]), Gateways::new([of_store("1"), of_store("2")])];
        let identity = |gateways: &Gateways, name| account(gateways, name).map(|account| account.identity().0.clone());

        assert_eq!(identity(&one, None).unwrap(), "sandbox:1");
        assert_eq!(identity(&two, Some("sandbox:2")).unwrap(), "sandbox:2");
        for (gateways, name, told) in [
            (&none, None, "no account of Atmos"),
            (&two, None, "sandbox:1, sandbox:2"),
            (&two, Some("sandbox:3"), "sandbox:3"),
        ] {
            let refused = identity(gateways, name).unwrap_err();
            assert!(format!("{refused:?}").contains(told), "{refused:?}");
        }
    }
}
