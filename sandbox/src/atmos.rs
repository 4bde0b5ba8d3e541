//! A stand-in for Atmos: the merchant API, the payment page, callbacks, and a ledger.

mod callback;
mod cards;
mod codes;
mod faults;
mod ledger;
mod merchant;
mod page;
mod payment;
mod sim;
mod state;
mod token;
mod transaction;
mod wire;

use std::sync::Arc;

use poem::{Route, get, post};

use self::merchant::{Call, MerchantEndpoint};
pub(crate) use self::state::AtmosSandbox;

/// The routes of Atmos's own API and page.
pub(crate) fn routes(atmos: &Arc<AtmosSandbox>) -> Route {
    let mut routes = Route::new()
        .at("/token", post(token::post_token))
        .at("/revoke", post(token::post_revoke))
        .at("/invoice/get", get(page::get_invoice))
        .at("/invoice/card", post(page::post_card))
        .at("/invoice/pay", post(page::post_pay))
        .at("/invoice/cancel", post(page::post_cancel))
        .at("/ofd/:success_trans_id", get(page::get_receipt));
    for (call, path) in Call::PATHS {
        let state = Arc::clone(atmos);
        routes = routes.at(path, post(MerchantEndpoint { call, path, state }));
    }
    routes
}

/// The routes below `/_sim/` that concern Atmos alone.
pub(crate) fn sim_routes() -> Route {
    Route::new()
        .at("/pay/:transaction_id", post(sim::post_pay))
        .at("/close/:transaction_id", post(sim::post_close))
        .at("/reverse/:transaction_id", post(sim::post_reverse))
        .at("/ledger", get(sim::get_ledger))
        .at("/callbacks", get(sim::get_callbacks))
        .at("/token", get(sim::get_token).post(sim::post_token).delete(sim::delete_token))
        .at("/faults", get(sim::get_faults).post(sim::post_faults).delete(sim::delete_faults))
}
