//! `tasdiq shops …`: who sells here, through which accounts.

use std::collections::{BTreeMap, BTreeSet};

use domain::order::PaymentType;
use serde::Serialize;
use store::orders;

use crate::arguments::{Output, ShopsCommand};
use crate::config::{Config, Role};
use crate::database::open_store;
use crate::exit::Exit;
use crate::output::{lines, plain, print, print_json, table};

/// One shop.
#[derive(Debug, Serialize)]
struct ShopLine {
    shop: String,
    /// The identity of the account of each payment type.
    accounts: BTreeMap<PaymentType, String>,
    /// The number of names of its API keys; nothing where the order API's settings have a fault.
    api_keys: Option<usize>,
    /// The number of its orders that are `pending` or `confirming`.
    open_orders: i64,
    /// Whether it is configured here.
    is_configured: bool,
}

/// Runs one of the commands.
///
/// # Errors
/// The database is away.
pub(crate) async fn run(config: &Config, command: ShopsCommand) -> Result<(), Exit> {
    let ShopsCommand::List(output) = command;
    let shops = list(config).await?;
    match output {
        Output { json: true } => Ok(print_json(&shops)?),
        Output { json: false } => Ok(print(&text(&shops))?),
    }
}

async fn list(config: &Config) -> Result<Vec<ShopLine>, Exit> {
    let store = open_store(config).await?;
    let mut open: BTreeMap<String, i64> = orders::open_by_shop(&store).await?.into_iter().collect();
    // A command reads no API keys, so that it gets in when the order API would not start.
    let of_api = Config::from_variables(Role::Up, &config.variables).ok();
    let mut shops: Vec<ShopLine> = Vec::new();
    for shop in config.shops().iter() {
        let keys = of_api.as_ref().map(|api| {
            let own = api.api.keys.iter().filter(|key| key.shop == shop.name);
            own.map(|key| key.name.as_str()).collect::<BTreeSet<_>>().len()
        });
        let open_orders = open.remove(shop.name.as_str()).unwrap_or_default();
        if shop.accounts.is_empty() && keys.unwrap_or_default() == 0 && open_orders == 0 {
            continue; // The default shop, of which the variables say nothing.
        }
        let accounts = shop.accounts.iter().map(|(payment_type, account)| (*payment_type, account.0.clone())).collect();
        shops.push(ShopLine {
            shop: shop.name.to_string(),
            accounts,
            api_keys: keys,
            open_orders,
            is_configured: true,
        });
    }
    let elsewhere = open.into_iter().map(|(shop, open_orders)| ShopLine {
        shop,
        accounts: BTreeMap::new(),
        api_keys: None,
        open_orders,
        is_configured: false,
    });
    shops.extend(elsewhere);
    Ok(shops)
}

fn text(shops: &[ShopLine]) -> String {
    let mut rows = table(&["SHOP", "ACCOUNTS", "KEYS", "OPEN ORDERS"]);
    for shop in shops {
        let accounts: Vec<&str> = shop.accounts.values().map(String::as_str).collect();
        let accounts = match (shop.is_configured, accounts.is_empty()) {
            (false, _) => "not configured here".to_owned(),
            (true, true) => "none".to_owned(),
            (true, false) => accounts.join(", "),
        };
        let keys = shop.api_keys.map_or_else(|| "?".to_owned(), |keys| keys.to_string());
        rows.add_row([plain(&shop.shop), plain(&accounts), keys, shop.open_orders.to_string()]);
    }
    lines(&rows)
}
