//! A stand-in for Payme: the checkout page, the calls of the Merchant API to a merchant, faults, a ledger, and Payme's
//! own test course for any merchant.

mod busy;
mod caller;
mod card;
mod check;
mod faults;
mod ledger;
mod link;
mod page;
mod paying;
mod receipt;
mod sim;
mod soum;
mod state;
mod wire;
mod words;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Route, get, post};

pub use self::busy::BusyCode;
pub use self::check::{PaymeScenarios, RefundPolicy};
pub(crate) use self::state::PaymeSandbox;
use crate::sim::{get_clock, post_clock, refuse_other_sites};

/// The routes below `/payme/`. Every path that is none of the others is a checkout link; below `/payme/_sim/` a wrong
/// one is told which there are.
pub(crate) fn routes(payme: &Arc<PaymeSandbox>) -> impl Endpoint + use<> {
    let sim = Route::new()
        .at("/pay", post(sim::post_pay))
        .at("/pay/:account", post(sim::post_pay_account))
        .at("/refund/:receipt", post(sim::post_refund))
        .at("/cancel/:receipt", post(sim::post_cancel))
        .at("/resume/:receipt", post(sim::post_resume))
        .at("/look/:receipt", post(sim::post_look))
        .at("/fiscal/:receipt", post(sim::post_fiscal))
        .at("/statement", post(sim::post_statement))
        .at("/call", post(sim::post_call))
        .at("/check", post(page::post_sim_check))
        .at("/ledger", get(sim::get_ledger))
        .at("/calls", get(sim::get_calls))
        .at("/busy-code", get(sim::get_busy_code).post(sim::post_busy_code))
        .at("/clock", get(get_clock).post(post_clock))
        .at("/faults", get(sim::get_faults).post(sim::post_faults).delete(sim::delete_faults));
    Route::new()
        .nest("/_sim", sim.around(sim::tell_paths).around(refuse_other_sites))
        .at("/check", post(page::post_check).around(refuse_other_sites))
        .at("/refund", post(page::post_front_refund).around(refuse_other_sites))
        .at("/*link", get(page::get_page).post(page::post_page))
        .data(Arc::clone(payme))
}
