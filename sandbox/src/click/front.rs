//! The front page of the sandbox's Click: what it has, and the button that plays Click's tester against the merchant.

use std::sync::Arc;

use askama::Template;
use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Response};
use tracing::error;
use url::form_urlencoded;

use super::page::render;
use super::soum;
use super::state::{ClickSandbox, MERCHANT_ID, MERCHANT_USER_ID, SECRET_KEY};
use super::tester::ClickTester;
use crate::answers::broken;
use crate::check::CheckReport;
use crate::state::BODY_BYTES;

/// The front page; with the list of the tester once it was played.
#[derive(Template)]
#[template(path = "click_front.html")]
struct FrontPage<'a> {
    service: [(&'a str, &'a str); 4],
    addresses: Vec<(&'a str, String)>,
    account: &'a str,
    failing_account: &'a str,
    amount: &'a str,
    message: &'a str,
    report: Option<&'a CheckReport>,
}

impl ClickSandbox {
    /// A tester of the merchant that this sandbox calls. The first account is paid; the second, if there is one, is for
    /// the payment that fails.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub(super) fn tester(&self, accounts: Vec<String>, amount: &str) -> Result<ClickTester, String> {
        let addresses = self.addresses().ok_or(
            "the service is off: start the sandbox with --click-prepare and --click-complete, or use tasdiq sandbox \
             check click URL",
        )?;
        let amount_tiyin = soum::read_tiyin(amount).ok_or("the amount is in soʻm, such as 1000.00, and above 0")?;
        if accounts.is_empty() || accounts.iter().any(String::is_empty) {
            return Err("the account is an order's number at the merchant".to_owned());
        }
        Ok(ClickTester {
            prepare_url: addresses.prepare,
            complete_url: addresses.complete,
            service_id: self.common.config.click_service_id.clone(),
            secret_key: SECRET_KEY.to_owned(),
            accounts,
            amount_tiyin,
        })
    }
}

/// `GET /click/`: the front page.
#[poem::handler]
pub(crate) async fn get_front(Data(click): Data<&Arc<ClickSandbox>>) -> Response {
    show(click, StatusCode::OK, ["", "", ""], "", None)
}

/// `POST /click/check`: plays the tester, and shows its list.
#[poem::handler]
pub(crate) async fn post_check(Data(click): Data<&Arc<ClickSandbox>>, form: Body) -> Response {
    let Ok(bytes) = form.into_bytes_limit(BODY_BYTES).await else {
        return show(click, StatusCode::BAD_REQUEST, ["", "", ""], "The form could not be read.", None);
    };
    let fields: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.trim());
    let typed = ["account", "failing_account", "amount"].map(field);
    let [account, failing_account, amount] = typed;
    let accounts = [account, failing_account].into_iter().enumerate();
    // The second one may be left empty.
    let accounts = accounts.filter(|(place, account)| *place == 0 || !account.is_empty());
    let tester = click.tester(accounts.map(|(_, account)| account.to_owned()).collect(), amount);
    match tester {
        Ok(tester) => match tester.run().await {
            Ok(report) => show(click, StatusCode::OK, typed, "", Some(&report)),
            Err(cause) => {
                error!(error = %cause, "could not make a client for the tester");
                broken()
            }
        },
        Err(problem) => show(click, StatusCode::UNPROCESSABLE_ENTITY, typed, &problem, None),
    }
}

fn show(
    click: &ClickSandbox,
    status: StatusCode,
    [account, failing_account, amount]: [&str; 3],
    message: &str,
    report: Option<&CheckReport>,
) -> Response {
    let addresses = click.addresses();
    let address = |url: Option<String>| url.unwrap_or_else(|| "none: the service is off".to_owned());
    let page = FrontPage {
        service: [
            ("service_id", click.common.config.click_service_id.as_str()),
            ("merchant_id", MERCHANT_ID),
            ("merchant_user_id", MERCHANT_USER_ID),
            ("secret_key", SECRET_KEY),
        ],
        addresses: vec![
            ("Prepare", address(addresses.as_ref().map(|addresses| addresses.prepare.to_string()))),
            ("Complete", address(addresses.as_ref().map(|addresses| addresses.complete.to_string()))),
        ],
        account,
        failing_account,
        amount,
        message,
        report,
    };
    render(status, &page)
}
