//! The paths of the sandbox: those of Atmos at the top, as Atmos has them; the others below their names.

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response, get, post};

use crate::gateways::Gateways;
use crate::{atmos, click, payme, sim};

/// All routes; every other path is 404.
pub(crate) fn routes(gateways: &Gateways) -> impl Endpoint + use<> {
    let sim =
        atmos::sim_routes().at("/clock", get(sim::get_clock).post(sim::post_clock)).at("/away", post(sim::post_away));
    atmos::routes(&gateways.atmos)
        .nest("/_sim", sim.around(sim::refuse_other_sites))
        .nest("/payme", payme::routes(&gateways.payme))
        .nest("/click", click::routes(&gateways.click))
        .at("/livez", get(get_livez))
        .data(Arc::clone(&gateways.atmos))
        .data(gateways.clone())
}

/// `GET /livez`: the process answers.
#[poem::handler]
fn get_livez() -> Response {
    Response::default()
}
