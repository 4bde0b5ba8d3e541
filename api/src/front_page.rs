//! The page at `/`: what is served here, for people who come with a browser.

use std::sync::LazyLock;

use askama::Template;
use domain::order::Language;
use poem::http::{HeaderMap, HeaderValue, header};
use poem::{Request, Response, handler};

use crate::pay_page::{LanguageLink, STYLE, WantedLanguage, hash_source, language_links};
use crate::problem::{Problem, ProblemType};

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = hash_source(STYLE);
    format!("default-src 'none'; style-src {style}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
});

#[derive(Template)]
#[template(path = "front.html")]
struct RootPage {
    language: Language,
    /// The page in each language.
    languages: Vec<LanguageLink>,
    words: FrontWords,
    style: &'static str,
}

/// What the page says.
struct FrontWords {
    languages: &'static str,
    headline: &'static str,
    explanation: &'static str,
    documentation: &'static str,
}

impl FrontWords {
    fn of(language: Language) -> Self {
        match language {
            Language::Uz => FrontWords {
                languages: "Til",
                headline: "Toʻlov xizmati",
                explanation: "Bu yerda doʻkonlar buyurtmalar uchun toʻlov qabul qiladi. Buyurtmani toʻlash uchun doʻkon bergan \
                              havolani oching.",
                documentation: "Dasturchilar uchun hujjatlar",
            },
            Language::Ru => FrontWords {
                languages: "Язык",
                headline: "Платёжный сервис",
                explanation: "Здесь магазины принимают оплату заказов. Чтобы оплатить заказ, откройте ссылку, которую дал магазин.",
                documentation: "Документация для разработчиков",
            },
            Language::En => FrontWords {
                languages: "Language",
                headline: "Payment service",
                explanation: "Shops take payments for their orders here. To pay for an order, open the link that the shop gave you.",
                documentation: "Documentation for developers",
            },
        }
    }
}

/// Tells people what is served here; programs get the problem that they get at every other address without a resource.
///
/// # Errors
/// [`ProblemType::NotFound`] for a caller that does not ask for HTML.
#[handler]
pub(crate) fn get_front_page(request: &Request) -> Result<Response, Problem> {
    if !wants_html(request.headers()) {
        return Err(Problem::new(ProblemType::NotFound, "no page and no resource has this address"));
    }
    let language = WantedLanguage::of(request).or_accepted();
    let page = RootPage { language, languages: language_links("?"), words: FrontWords::of(language), style: STYLE };
    // Rendering into a string fails only if the template has a defect, which the tests would show.
    let html = page.render().unwrap_or_default();
    Ok(Response::builder()
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, POLICY.as_str())
        .header(header::VARY, HeaderValue::from_static("accept, accept-language"))
        .body(html))
}

/// Whether the caller names HTML among what it takes, as browsers do. `*/*` alone is a program.
fn wants_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let (name, quality) = range.split_once(';').unwrap_or((range, ""));
        let quality = quality.trim().strip_prefix("q=").unwrap_or("1");
        let is_refused = !quality.is_empty() && quality.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        name.trim().eq_ignore_ascii_case("text/html") && !is_refused
    })
}
