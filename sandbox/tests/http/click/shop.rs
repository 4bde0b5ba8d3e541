//! A merchant of Click, written apart from everything else here, that can make the mistakes which merchants make.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use md5::{Digest, Md5};
use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, RemoteAddr};
use poem::{Body, EndpointExt, Response, Route, Server, handler, post};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::support::TestShop;

pub(crate) const KEY: &str = "sandbox-click-secret";

/// A mistake in a merchant's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    ChecksNoSignature,
    SignsParsedAmount,
    AnswersBadSignWith403,
    ChecksNoFields,
    ChecksNoAction,
    ChecksNoService,
    TakesEveryOrder,
    ChecksNoAmount,
    LetsUnderpaymentPass,
    GivesNewPrepareIds,
    TakesPrepareIdsFromTheClock,
    PrepareIdAsText,
    ErrorAsText,
    NoErrorNote,
    EchoesNothing,
    WritesPaidInPrepare,
    ChecksNoPrepareId,
    ComparesNoAttempt,
    ChecksNoAmountInComplete,
    LooksAtNoError,
    CancelsTheOrderForGood,
    RepeatedFailureIsAnError,
    PreparesCanceledAttempts,
    RepeatedCompleteIsAnError,
    PaysInParallelWithoutALock,
    PreparesPaidAttempts,
    PreparesPaidOrders,
    FailsWhatIsPaid,
    AnswersText,
}

/// A reading of the documentation in which right merchants differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A repeated Complete gets 0, a new attempt on a paid order -9, a second open attempt -9.
    Calm,
    /// A repeated Complete gets -4, so does a new attempt on a paid order; a second attempt may be open.
    LikeTheSamples,
}

#[derive(Debug)]
struct Order {
    amount_tiyin: i64,
    paid_by: Option<String>,
    is_canceled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TryState {
    Open,
    Paid,
    Canceled,
}

#[derive(Debug)]
struct Try {
    id: i64,
    click_trans_id: String,
    account: String,
    state: TryState,
}

#[derive(Debug, Default)]
struct Books {
    orders: HashMap<String, Order>,
    tries: Vec<Try>,
    calls: Vec<HashMap<String, String>>,
    content_types: Vec<String>,
    addresses: Vec<String>,
    /// The next answers that the test has scripted: HTTP status, body, delay.
    scripted: Vec<(StatusCode, String, Duration)>,
}

/// A merchant with orders.
#[derive(Clone)]
pub(crate) struct ClickMerchant {
    pub(crate) url: Url,
    inside: Arc<Inside>,
}

struct Inside {
    mistake: Option<Mistake>,
    reading: Reading,
    books: Mutex<Books>,
}

impl ClickMerchant {
    pub(crate) async fn right() -> Self {
        Self::start(None, Reading::Calm).await
    }

    pub(crate) async fn reading(reading: Reading) -> Self {
        Self::start(None, reading).await
    }

    pub(crate) async fn with(mistake: Mistake) -> Self {
        Self::start(Some(mistake), Reading::Calm).await
    }

    async fn start(mistake: Option<Mistake>, reading: Reading) -> Self {
        let inside = Arc::new(Inside { mistake, reading, books: Mutex::default() });
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a port");
        let address = acceptor.local_addr().remove(0).0.to_string();
        let port = address.rsplit(':').next().expect("a port").to_owned();
        let routes = Route::new().at("/click", post(post_click).data(inside.clone()));
        tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
        Self { url: Url::parse(&format!("http://127.0.0.1:{port}/click")).expect("a URL"), inside }
    }

    pub(crate) fn order(&self, account: &str, amount_tiyin: i64) {
        let order = Order { amount_tiyin, paid_by: None, is_canceled: false };
        self.books().orders.insert(account.to_owned(), order);
    }

    pub(crate) fn cancel(&self, account: &str) {
        self.books().orders.get_mut(account).expect("the order").is_canceled = true;
    }

    pub(crate) fn is_paid(&self, account: &str) -> bool {
        self.books().orders.get(account).expect("the order").paid_by.is_some()
    }

    /// Scripts the next answers; afterwards it answers by itself again.
    pub(crate) fn script(&self, answers: &[(u16, &str, u64)]) {
        let answers = answers.iter().map(|(status, body, ms)| {
            let status = StatusCode::from_u16(*status).expect("a status");
            (status, (*body).to_owned(), Duration::from_millis(*ms))
        });
        self.books().scripted = answers.collect();
    }

    /// The calls that came, each with its fields.
    pub(crate) fn calls(&self) -> Vec<HashMap<String, String>> {
        self.books().calls.clone()
    }

    /// What a field was in each call that came.
    pub(crate) fn came(&self, field: &str) -> Vec<String> {
        self.calls().iter().map(|call| call.get(field).cloned().unwrap_or_default()).collect()
    }

    pub(crate) fn content_types(&self) -> Vec<String> {
        self.books().content_types.clone()
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.books().addresses.clone()
    }

    /// A sandbox that calls this merchant.
    pub(crate) async fn sandbox(&self) -> TestShop {
        let url = self.url.clone();
        TestShop::configured(|config| {
            config.click_prepare = Some(url.clone());
            config.click_complete = Some(url);
        })
        .await
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.inside.books.lock().expect("the books")
    }
}

#[handler]
async fn post_click(
    Data(inside): Data<&Arc<Inside>>,
    from: &RemoteAddr,
    request: &poem::Request,
    body: Body,
) -> Response {
    let bytes = body.into_bytes().await.expect("a body");
    let content_type = request.content_type().unwrap_or_default().to_owned();
    let fields: HashMap<String, String> = match content_type.as_str() {
        "application/json" => {
            let object: HashMap<String, Box<serde_json::value::RawValue>> =
                serde_json::from_slice(&bytes).expect("JSON");
            object.into_iter().map(|(name, raw)| (name, raw.get().trim_matches('"').to_owned())).collect()
        }
        _ => form_urlencoded::parse(&bytes).into_owned().collect(),
    };
    let scripted = {
        let mut books = inside.books.lock().expect("the books");
        books.calls.push(fields.clone());
        books.content_types.push(content_type);
        books.addresses.push(from.as_socket_addr().expect("an address").ip().to_string());
        (!books.scripted.is_empty()).then(|| books.scripted.remove(0))
    };
    if let Some((status, body, delay)) = scripted {
        tokio::time::sleep(delay).await;
        return Response::builder().status(status).body(body);
    }
    if inside.has(Mistake::PaysInParallelWithoutALock) {
        let before = inside.find(&fields).is_some();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !before && fields.get("action").is_some_and(|action| action == "0") {
            return inside.write(inside.prepare_anew(&fields));
        }
    }
    let answer = inside.answer(&fields);
    if answer["error"] == -1 && inside.has(Mistake::AnswersBadSignWith403) {
        return Response::builder().status(StatusCode::FORBIDDEN).body("Forbidden");
    }
    inside.write(answer)
}

type Fields = HashMap<String, String>;

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

fn tiyin(amount: &str) -> i64 {
    let (whole, decimals) = amount.split_once('.').unwrap_or((amount, "00"));
    whole.parse::<i64>().unwrap_or(-1) * 100 + decimals.parse::<i64>().unwrap_or(-1)
}

fn refusal(error: i64) -> Value {
    json!({"error": error, "error_note": "no"})
}

impl Inside {
    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn write(&self, mut answer: Value) -> Response {
        if self.has(Mistake::AnswersText) {
            return Response::builder().body("OK");
        }
        let fields = answer.as_object_mut().expect("an object");
        if self.has(Mistake::ErrorAsText) {
            let error = fields["error"].to_string();
            fields.insert("error".to_owned(), json!(error));
        }
        if self.has(Mistake::NoErrorNote) {
            fields.remove("error_note");
        }
        if self.has(Mistake::EchoesNothing) {
            fields.remove("click_trans_id");
        }
        if self.has(Mistake::PrepareIdAsText)
            && let Some(id) = fields.get("merchant_prepare_id").cloned()
        {
            fields.insert("merchant_prepare_id".to_owned(), json!(id.to_string()));
        }
        Response::builder().content_type("application/json").body(answer.to_string())
    }

    fn find(&self, fields: &Fields) -> Option<usize> {
        let books = self.books.lock().expect("the books");
        books.tries.iter().position(|found| found.click_trans_id == text(fields, "click_trans_id"))
    }

    fn prepare_anew(&self, fields: &Fields) -> Value {
        let mut books = self.books.lock().expect("the books");
        self.new_try(&mut books, fields)
    }

    fn new_try(&self, books: &mut Books, fields: &Fields) -> Value {
        let id = match self.has(Mistake::TakesPrepareIdsFromTheClock) {
            true => 1_795_513_505_000 + i64::try_from(books.tries.len()).expect("few"),
            false => i64::try_from(books.tries.len()).expect("few") + 1,
        };
        let (click_trans_id, account) =
            (text(fields, "click_trans_id").to_owned(), text(fields, "merchant_trans_id").to_owned());
        books.tries.push(Try { id, click_trans_id, account, state: TryState::Open });
        prepared(fields, id)
    }

    fn is_signed(&self, fields: &Fields) -> bool {
        let amount = match self.has(Mistake::SignsParsedAmount) {
            true => format!("{}.{:02}", tiyin(text(fields, "amount")) / 100, tiyin(text(fields, "amount")) % 100),
            false => text(fields, "amount").to_owned(),
        };
        let joined = [
            text(fields, "click_trans_id"),
            text(fields, "service_id"),
            KEY,
            text(fields, "merchant_trans_id"),
            text(fields, "merchant_prepare_id"),
            &amount,
            text(fields, "action"),
            text(fields, "sign_time"),
        ]
        .concat();
        let digest: String = Md5::digest(joined).iter().map(|byte| format!("{byte:02x}")).collect();
        digest == text(fields, "sign_string").to_lowercase()
    }

    fn answer(&self, fields: &Fields) -> Value {
        let mut needed =
            vec!["click_trans_id", "service_id", "click_paydoc_id", "merchant_trans_id", "amount", "action", "error"];
        needed.extend(["sign_time", "sign_string"]);
        if text(fields, "action") == "1" {
            needed.push("merchant_prepare_id");
        }
        if !self.has(Mistake::ChecksNoFields) && needed.iter().any(|name| text(fields, name).is_empty()) {
            return refusal(-8);
        }
        if !self.has(Mistake::ChecksNoSignature) && !self.is_signed(fields) {
            return refusal(-1);
        }
        if !self.has(Mistake::ChecksNoService) && text(fields, "service_id") != "22222" {
            return refusal(-8);
        }
        let mut books = self.books.lock().expect("the books");
        if self.has(Mistake::TakesEveryOrder) {
            let account = text(fields, "merchant_trans_id").to_owned();
            let amount_tiyin = tiyin(text(fields, "amount"));
            books.orders.entry(account).or_insert(Order { amount_tiyin, paid_by: None, is_canceled: false });
        }
        match text(fields, "action") {
            "1" => self.complete(&mut books, fields),
            "0" => self.prepare(&mut books, fields),
            _ if self.has(Mistake::ChecksNoAction) => self.prepare(&mut books, fields),
            _ => refusal(-3),
        }
    }

    fn prepare(&self, books: &mut Books, fields: &Fields) -> Value {
        let account = text(fields, "merchant_trans_id");
        let Some(order) = books.orders.get(account) else { return refusal(-5) };
        let amount = tiyin(text(fields, "amount"));
        let is_right = amount == order.amount_tiyin
            || self.has(Mistake::ChecksNoAmount)
            || amount < order.amount_tiyin && self.has(Mistake::LetsUnderpaymentPass);
        if !is_right {
            return refusal(-2);
        }
        let click_trans_id = text(fields, "click_trans_id");
        let known = books.tries.iter().rev().find(|found| found.click_trans_id == click_trans_id);
        match known.map(|found| (found.state, found.id)) {
            Some((TryState::Paid, id)) if self.has(Mistake::PreparesPaidAttempts) => return prepared(fields, id),
            Some((TryState::Paid, _)) => return refusal(-4),
            Some((TryState::Canceled, id)) if self.has(Mistake::PreparesCanceledAttempts) => {
                return prepared(fields, id);
            }
            Some((TryState::Canceled, _)) => return refusal(-9),
            Some((TryState::Open, id)) if !self.has(Mistake::GivesNewPrepareIds) => return prepared(fields, id),
            Some((TryState::Open, _)) | None => (),
        }
        if order.is_canceled {
            return refusal(-9);
        }
        if order.paid_by.is_some() && !self.has(Mistake::PreparesPaidOrders) {
            return refusal(if self.reading == Reading::Calm { -9 } else { -4 });
        }
        let holds = |found: &Try| {
            found.account == account && found.state == TryState::Open && found.click_trans_id != click_trans_id
        };
        if self.reading == Reading::Calm && books.tries.iter().any(holds) {
            return refusal(-9);
        }
        if self.has(Mistake::WritesPaidInPrepare) {
            books.orders.get_mut(account).expect("the order").paid_by = Some(click_trans_id.to_owned());
        }
        self.new_try(books, fields)
    }

    fn complete(&self, books: &mut Books, fields: &Fields) -> Value {
        let account = text(fields, "merchant_trans_id");
        let Some(order) = books.orders.get_mut(account) else { return refusal(-5) };
        let (prepare_id, click_trans_id) = (text(fields, "merchant_prepare_id"), text(fields, "click_trans_id"));
        let is_it = |found: &&mut Try| {
            let has_id = found.id.to_string() == prepare_id || self.has(Mistake::ChecksNoPrepareId);
            let has_attempt = found.click_trans_id == click_trans_id || self.has(Mistake::ComparesNoAttempt);
            has_id && has_attempt && found.account == account
        };
        let Some(found) = books.tries.iter_mut().find(is_it) else { return refusal(-6) };
        let amount_differs = tiyin(text(fields, "amount")) != order.amount_tiyin;
        if amount_differs && !self.has(Mistake::ChecksNoAmountInComplete) {
            return refusal(-2);
        }
        let has_failed = text(fields, "error") != "0" && !self.has(Mistake::LooksAtNoError);
        let again = if self.reading == Reading::Calm { 0 } else { -4 };
        match (found.state, has_failed) {
            (TryState::Paid, true) if self.has(Mistake::FailsWhatIsPaid) => {
                found.state = TryState::Canceled;
                refusal(-9)
            }
            (TryState::Paid, _) if self.has(Mistake::RepeatedCompleteIsAnError) => refusal(-7),
            (TryState::Paid, _) if again == 0 => completed(fields, found.id),
            (TryState::Paid, _) => refusal(again),
            (TryState::Canceled, true) if self.has(Mistake::RepeatedFailureIsAnError) => refusal(-6),
            (TryState::Canceled, _) => refusal(-9),
            (TryState::Open, true) => {
                found.state = TryState::Canceled;
                order.is_canceled = self.has(Mistake::CancelsTheOrderForGood);
                refusal(-9)
            }
            (TryState::Open, false) => {
                found.state = TryState::Paid;
                order.paid_by = Some(click_trans_id.to_owned());
                completed(fields, found.id)
            }
        }
    }
}

fn prepared(fields: &Fields, id: i64) -> Value {
    json!({
        "click_trans_id": text(fields, "click_trans_id").parse::<i64>().unwrap_or_default(),
        "merchant_trans_id": text(fields, "merchant_trans_id"),
        "merchant_prepare_id": id,
        "error": 0,
        "error_note": "Success",
    })
}

fn completed(fields: &Fields, id: i64) -> Value {
    json!({
        "click_trans_id": text(fields, "click_trans_id").parse::<i64>().unwrap_or_default(),
        "merchant_trans_id": text(fields, "merchant_trans_id"),
        "merchant_confirm_id": id,
        "error": 0,
        "error_note": "Success",
    })
}
