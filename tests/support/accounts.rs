//! Gateway accounts, for tests that need more than the one of the sandbox.

use config::defaults;
use gateway::atmos::{AtmosGateway, AtmosSettings};
use gateway::click::ClickSettings;
use gateway::{AccountSettings, Gateway};

/// The sandbox's account, to sign callbacks with.
pub(crate) fn sandbox_account() -> AtmosGateway {
    let account = atmos_account("1234", "http://127.0.0.1:9");
    gateway_of(&account).as_atmos().unwrap().clone()
}

/// The account of this store at a sandbox with this address.
pub(crate) fn atmos_account(store_id: &str, url: &str) -> AccountSettings {
    let url: url::Url = url.parse().unwrap();
    let settings = AtmosSettings {
        store_id: store_id.to_owned(),
        base_url: url.clone(),
        checkout_url: url,
        ..defaults().expect("the sandbox's credentials")
    };
    AccountSettings::Atmos(settings)
}

/// The account of this service at a Merchant API with this address.
pub(crate) fn click_account(service_id: &str, url: &str) -> AccountSettings {
    let settings = ClickSettings {
        service_id: service_id.to_owned(),
        api_url: url.parse().unwrap(),
        ..defaults().expect("the sandbox's credentials")
    };
    AccountSettings::Click(settings)
}

/// Its client, in a process alone.
pub(crate) fn gateway_of(account: &AccountSettings) -> Gateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    account.gateway(account.coordination(None, false)).unwrap()
}
