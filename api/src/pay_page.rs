//! The customer's pages: `/pay/{token}` leads to the gateway's page, `/pay/{token}/return` shows the result.
//!
//! Without JavaScript the pages reload every few seconds. With JavaScript they follow the order's events, fetch the
//! page again and replace its content, so that a proxy's error page never replaces it. The content is decided here
//! only.

use domain::order::{Order, OrderStatus};
use poem::http::{StatusCode, header};
use poem::web::Path;
use poem::{Request, Response, handler};
use store::orders;
use tracing::warn;

use crate::problem::Problem;
use crate::{Api, SharedApi};

mod availability;
mod choice;
mod labels;
mod leaving;
mod rendering;
mod shop_words;
mod times;
mod visit;
mod way_back;
pub(crate) mod words;

pub(crate) use availability::Availability;
pub(crate) use choice::post_choice;
use choice::{choice_page, see_other, without_last_slash};
#[cfg(test)]
pub(crate) use leaving::way_back;
pub(crate) use rendering::{LanguageLink, STYLE, hash_source, language_links, problem_page};
use rendering::{PageLinks, PageSettings, ReloadAs, order_of, page};
pub(crate) use visit::WantedLanguage;
use visit::{Asks, ReloadedBy, stays};
use words::Situation;

/// Forwards to the gateway's page as soon as there is one; until then, or when the order has ended, shows a page.
///
/// # Errors
/// [`ProblemType::NotFound`] for a token that belongs to no order; shown as a page, like all problems under `/pay`.
#[handler]
pub(crate) async fn get_pay_page(
    api: SharedApi<'_>,
    request: &Request,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    if let Some(elsewhere) = without_last_slash(request) {
        return Ok(elsewhere);
    }
    let order = order_of(&api, &token).await?;
    let wanted = WantedLanguage::of(request);
    let mut response = pay_page(&api, request, &order, wanted).await;
    wanted.remember(&mut response, &api.context.public_url, order.token.as_str());
    Ok(response)
}

async fn pay_page(api: &Api, request: &Request, order: &Order, wanted: WantedLanguage) -> Response {
    let (now_ms, token) = (api.context.store.now_ms(), order.token.as_str());
    let (situation, asks) = (Situation::of(order, now_ms), Asks::of(request));
    let reloaded_by = ReloadedBy::of(request);
    match asks {
        Asks::Page if situation == Situation::Choosing => return see_other(token, &wanted.keep(CHOOSE)),
        Asks::Choice if order.takes_choice_at(now_ms) => return choice_page(api, order, wanted, None).await,
        Asks::Page | Asks::Chosen | Asks::Choice | Asks::Refused => (),
    }
    // A customer who opens this page is no customer who comes back from paying.
    let may_leave = reloaded_by.is_some() && !stays(request);
    let settings = PageSettings { events_root: "..", refresh_s: 2, reload: ReloadAs::Page, wanted, may_leave };
    let (url, forwards) = (order.payment_url.as_deref(), situation == Situation::Open);
    let choose = wanted.keep(CHOOSE);
    let choose = (order.account.is_some() && order.takes_choice_at(now_ms)).then_some(choose.as_str());
    let wanted_choice = matches!(asks, Asks::Choice | Asks::Refused);
    let choice_is_over = order.status == OrderStatus::Pending && situation != Situation::Late && wanted_choice;
    match url {
        _ if choice_is_over => {
            let links = PageLinks { pay: url.filter(|_| forwards), ..PageLinks::default() };
            let settings = PageSettings { reload: ReloadAs::Refused, ..settings };
            page(order, api, Situation::ChoiceIsOver, &settings, links)
        }
        // 303 See Other, and not cached: a later link of the same order may be a different one. A form's answer leads to a
        // page first.
        Some(url) if forwards && reloaded_by != Some(ReloadedBy::Script) && asks != Asks::Chosen => Response::builder()
            .status(StatusCode::SEE_OTHER)
            .header(header::LOCATION, url)
            .header(header::CACHE_CONTROL, "no-store")
            .finish(),
        // A script cannot follow a redirection to another host, so the page names the address.
        Some(url) if forwards && asks == Asks::Chosen => {
            let links = PageLinks { forward: Some(url), pay: Some(url), choose, ..PageLinks::default() };
            page(order, api, Situation::MakingLink, &settings, links)
        }
        url => {
            let forward = url.filter(|_| forwards);
            let pay = url.filter(|_| situation == Situation::Declined);
            page(order, api, situation, &settings, PageLinks { forward, pay, choose, ..PageLinks::default() })
        }
    }
}

/// The choice, from the page of the order.
const CHOOSE: &str = "?choose";

/// The page to which the gateway sends the customer back: hints the order's settlement, and shows the result as it
/// comes.
///
/// # Errors
/// [`ProblemType::NotFound`] for a token that belongs to no order.
#[handler]
pub(crate) async fn get_return_page(
    api: SharedApi<'_>,
    request: &Request,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    if let Some(elsewhere) = without_last_slash(request) {
        return Ok(elsewhere);
    }
    let mut order = order_of(&api, &token).await?;
    let is_open = matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming);
    let mut reload = ReloadAs::Page;
    // Only the customer's return is news; a reload of the page is not.
    if is_open && ReloadedBy::of(request).is_none() {
        match orders::hint_from_return_page(&api.context.store, order.id).await {
            Ok(true) => order.last_hint_at_ms = Some(api.context.store.now_ms()),
            Ok(false) => (),
            Err(error) => {
                // The page is correct without the hint; only the inquiry comes later.
                warn!(order.id = %order.id, error = %error, "the return page of order {} could not record a hint: {error}", order.id);
                reload = ReloadAs::Visit;
            }
        }
    }
    let situation = match Situation::of(&order, api.context.store.now_ms()) {
        Situation::Open if order.seen_unpaid().is_some() => Situation::Unpaid,
        Situation::Open => Situation::Checking,
        situation => situation,
    };
    let wanted = WantedLanguage::of(request);
    let ours = format!("../{}", order.token.as_str());
    let again = wanted.keep(&ours);
    let pay = match situation {
        Situation::Checking | Situation::Unpaid => Some(again.as_str()),
        Situation::Declined => order.payment_url.as_deref(),
        _ => None,
    };
    let settings = PageSettings { events_root: "../..", refresh_s: 3, reload, wanted, may_leave: !stays(request) };
    let choose = wanted.keep(&format!("{ours}{CHOOSE}"));
    let takes_choice = order.takes_choice_at(api.context.store.now_ms());
    let choose = Some(choose.as_str()).filter(|_| takes_choice);
    let mut response = page(&order, &api, situation, &settings, PageLinks { pay, choose, ..PageLinks::default() });
    wanted.remember(&mut response, &api.context.public_url, order.token.as_str());
    Ok(response)
}
