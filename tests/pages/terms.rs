//! How the gateways differ, and the refunds that each allows: as their terms say.

use std::time::Duration;

use documents::{part, table};
use domain::terms::{LinkOrigin, OutcomeSource, RefundWay, Terms};
use gateway::AccountSettings;

fn all_terms() -> [(&'static str, Terms); 3] {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let atmos = AccountSettings::Atmos(config::defaults().unwrap());
    let payme = AccountSettings::Payme(config::defaults().unwrap());
    let click = AccountSettings::Click(config::defaults().unwrap());
    [("Atmos", atmos), ("Payme", payme), ("Click", click)].map(|(name, settings)| {
        let gateway = settings.gateway(settings.coordination(None, false)).unwrap();
        (name, gateway.terms())
    })
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        0 => "at once".to_owned(),
        seconds if seconds % 3_600 == 0 => format!("{} h", seconds / 3_600),
        seconds => format!("{} min", seconds / 60),
    }
}

#[test]
fn the_reference_has_how_gateways_differ() {
    let rows = all_terms().map(|(name, terms)| {
        let link = match terms.link {
            LinkOrigin::Draft => "a draft is made at the gateway first, by a worker",
            LinkOrigin::Local => "written by us, in the answer to `create`; no call",
        };
        let outcome = match terms.outcome {
            OutcomeSource::Asked => "its answer to our inquiry",
            OutcomeSource::Told => "its own call; it is never asked",
        };
        let [debit, closed] = [terms.debit_within, terms.closed_believed_after].map(time);
        [name.to_owned(), link.to_owned(), outcome.to_owned(), debit, closed]
    });
    let columns =
        ["gateway", "link", "*paid* by", "a debit may follow a yes within", "\"closed and unpaid\" is believed"];
    part("docs/operate/gateways.md", "terms", &table(columns, rows));
}

#[test]
fn the_reference_has_the_refunds_that_each_gateway_allows() {
    let call = "`POST …/refund`, `tasdiq orders refund`: the whole amount";
    let rows = all_terms().map(|(name, terms)| {
        let (by_call, until, in_cabinet) = match terms.refunds {
            RefundWay::Call => (
                call,
                "no limit that is published",
                "a late inquiry, within 72 h of the payment, makes the order `refunded`",
            ),
            RefundWay::CallWithinMonth => (
                call,
                "the end of the payment's month and the first day of the next one, in Tashkent; then 422 \
                 `refund-month-over`",
                "a late inquiry, within 72 h of the payment, puts it before a person: it is not published how a returned \
                 payment looks",
            ),
            RefundWay::Cabinet => (
                "no: 422 `refund-only-in-cabinet`",
                "the gateway's own limit, which is not published",
                "the only way. The gateway tells us, and the order is `refunded` within a second",
            ),
        };
        [name, by_call, until, in_cabinet].map(str::to_owned)
    });
    let columns = ["gateway", "by a call of ours", "until", "by a person in the gateway's cabinet"];
    part("docs/guides/orders-and-refunds.md", "refunds", &table(columns, rows));
}
