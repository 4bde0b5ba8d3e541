//! The paths of the sandbox: those of Atmos at the top, as Atmos has them; the others below their names.

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response, get, post};

use crate::stand_ins::StandIns;
use crate::{atmos, click, payme, sim};

/// All routes; every other path is 404.
pub(crate) fn routes(stand_ins: &StandIns) -> impl Endpoint + use<> {
    let sim =
        atmos::sim_routes().at("/clock", get(sim::get_clock).post(sim::post_clock)).at("/away", post(sim::post_away));
    atmos::routes(&stand_ins.atmos)
        .nest("/_sim", sim.around(sim::refuse_other_sites))
        .nest("/payme", payme::routes(&stand_ins.payme))
        .nest("/click", click::routes(&stand_ins.click))
        .at("/livez", get(get_livez))
        .data(Arc::clone(&stand_ins.atmos))
        .data(stand_ins.clone())
}

/// `GET /livez`: the process answers.
#[poem::handler]
fn get_livez() -> Response {
    Response::default()
}
