//! A stand-in for Click: the payer's page, the calls of SHOP-API to a merchant, the Merchant API, faults, and a ledger.

mod answer;
mod api;
mod attempt;
mod clock;
mod faults;
mod front;
mod ledger;
mod page;
mod payer;
mod payment;
mod sender;
mod sending;
mod shop_api;
mod signature;
mod sim;
mod soum;
mod state;
mod tashkent;
mod tester;
mod words;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Route, get, post};

use self::api::ApiCall;
pub(crate) use self::state::ClickSandbox;
pub use self::tester::ClickTester;

/// The routes below `/click/`. Every other path there is told which there are.
pub(crate) fn routes(click: &Arc<ClickSandbox>) -> impl Endpoint + use<> {
    let sim = Route::new()
        .at("/pay", post(sim::post_pay))
        .at("/pay/:account", post(sim::post_pay_account))
        .at("/resume/:click_trans_id", post(sim::post_resume))
        .at("/reverse/:payment_id", post(sim::post_reverse))
        .at("/ledger", get(sim::get_ledger))
        .at("/calls", get(sim::get_calls))
        .at("/check", post(sim::post_check))
        .at("/clock", get(sim::get_clock).post(sim::post_clock).delete(sim::delete_clock))
        .at("/faults", get(sim::get_faults).post(sim::post_faults).delete(sim::delete_faults));
    let mut routes = Route::new()
        .nest("/_sim", sim.around(sim::refuse_other_sites))
        .at("/", get(front::get_front))
        .at("/check", post(front::post_check).around(sim::refuse_other_sites))
        .at("/services/pay", get(page::get_pay).post(page::post_pay));
    for call in ApiCall::ALL {
        routes = routes.at(call.route(), api::endpoint(call, click));
    }
    routes.around(sim::tell_paths).data(Arc::clone(click))
}
