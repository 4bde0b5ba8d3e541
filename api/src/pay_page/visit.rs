//! A visit of a customer's page, as its address and the browser say it.

use domain::order::Language;
use poem::http::header;
use poem::{Request, Response};
use process::public_address::PublicUrl;

/// The parameter of an address that names the language of its page.
const LANGUAGE: &str = "lang=";

/// The cookie with the language that the customer chose: a gateway leads back to an address without it.
const COOKIE: &str = "tasdiq_language=";

/// The cookie of a browser that a page of this order has sent, or is sending, back to the shop.
const RETURNED: &str = "tasdiq_returned=1";

/// The parameter of the customer who wants to stay on the page.
pub(super) const STAY: &str = "?stay";

/// What a visit of the page asks for, as its query says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// The page as it is.
    Page,
    /// To lead on after a choice.
    Chosen,
    /// To choose, for the first time or anew.
    Choice,
    /// Why a choice was refused.
    Refused,
}

impl Asks {
    pub(super) fn of(request: &Request) -> Self {
        let asked = parameters(request).find_map(|parameter| match parameter {
            "chosen" => Some(Asks::Chosen),
            "choose" => Some(Asks::Choice),
            "refused" => Some(Asks::Refused),
            _ => None,
        });
        asked.unwrap_or(Asks::Page)
    }
}

/// How a page is being reloaded, as its query `again` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReloadedBy {
    /// By the browser, without JavaScript, or by the customer in another language.
    Browser,
    /// By the page's script, which replaces the page's content.
    Script,
}

impl ReloadedBy {
    pub(super) fn of(request: &Request) -> Option<Self> {
        parameters(request).find_map(|parameter| match parameter {
            "again=browser" => Some(ReloadedBy::Browser),
            "again=script" => Some(ReloadedBy::Script),
            _ => None,
        })
    }
}

/// A gateway may append its own query to the address; it is ignored.
fn parameters(request: &Request) -> impl Iterator<Item = &str> {
    request.uri().query().unwrap_or_default().split('&')
}

/// Whether the page must not lead back to the shop by itself: the customer wants to stay, or was sent back before and has come to
/// read the receipt.
pub(super) fn stays(request: &Request) -> bool {
    parameters(request).any(|parameter| parameter == "stay") || cookies(request).any(|cookie| cookie == RETURNED)
}

/// Lets the browser know that a page of this order leads back to the shop.
pub(super) fn remember_return(response: &mut Response, public_url: &PublicUrl, token: &str) {
    set_cookie(response, RETURNED, public_url, token);
}

fn cookies(request: &Request) -> impl Iterator<Item = &str> {
    let lines = request.headers().get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).map(str::trim)
}

/// Sets a cookie for the pages of one order.
fn set_cookie(response: &mut Response, cookie: &str, public_url: &PublicUrl, token: &str) {
    let (url, path) = (public_url.url(), public_url.url().path().trim_end_matches('/'));
    let secure = if url.scheme() == "https" { "; Secure" } else { "" };
    if let Ok(cookie) = format!("{cookie}; Path={path}/pay/{token}; HttpOnly; SameSite=Lax{secure}").parse() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The language that the customer wants to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WantedLanguage {
    /// As the address names it. The addresses that this page leads to name it, too.
    named: Option<Language>,
    /// As it was chosen on an earlier page of the order.
    remembered: Option<Language>,
    /// The first of `Accept-Language` that we have.
    accepted: Option<Language>,
}

impl WantedLanguage {
    /// What the address, the browser's cookie and the browser say. A language that we do not have is ignored.
    pub(crate) fn of(request: &Request) -> Self {
        let named = parameters(request).find_map(|parameter| parameter.strip_prefix(LANGUAGE));
        let accepted = request.headers().get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let spoken = |range: &str| Language::parse(range.trim().split(['-', ';']).next()?);
        WantedLanguage {
            named: named.and_then(Language::parse),
            remembered: cookies(request).find_map(|cookie| cookie.strip_prefix(COOKIE)).and_then(Language::parse),
            accepted: accepted.unwrap_or_default().split(',').find_map(spoken),
        }
    }

    /// The language of a page without an order.
    pub(crate) fn or_accepted(self) -> Language {
        self.or(self.accepted.unwrap_or(Language::Uz))
    }

    /// The language of a page of an order; `own` where the customer has not chosen one.
    pub(crate) fn or(self, own: Language) -> Language {
        self.named.or(self.remembered).unwrap_or(own)
    }

    /// An address of ours, which names the language where this page's own address does.
    pub(super) fn keep(self, address: &str) -> String {
        match self.named {
            Some(language) => in_language(address, language),
            None => address.to_owned(),
        }
    }

    /// Lets the browser keep the language that the address names, for the pages of this order.
    pub(super) fn remember(self, response: &mut Response, public_url: &PublicUrl, token: &str) {
        let Some(language) = self.named else { return };
        set_cookie(response, &format!("{COOKIE}{language}"), public_url, token);
    }
}

/// An address of ours, whose page is to be in this language.
pub(super) fn in_language(address: &str, language: Language) -> String {
    let joint = match address.find('?') {
        None => "?",
        Some(place) if place + 1 == address.len() => "",
        Some(_) => "&",
    };
    format!("{address}{joint}{LANGUAGE}{language}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: &str, cookie: &str) -> WantedLanguage {
        let request = Request::builder().uri(format!("/pay/x?{query}").parse().unwrap()).header("cookie", cookie);
        WantedLanguage::of(&request.finish())
    }

    #[test]
    fn the_address_decides_before_the_cookie_and_the_cookie_before_the_order() {
        for (query, cookie, language) in [
            ("", "", Language::Uz),
            ("lang=ru", "", Language::Ru),
            ("transactionId=7&lang=en", "tasdiq_language=ru", Language::En),
            ("", "a=b; tasdiq_language=ru; c=d", Language::Ru),
            ("lang=de", "tasdiq_language=ru", Language::Ru),
            ("lang=", "tasdiq_language=", Language::Uz),
            ("xlang=ru", "xtasdiq_language=ru", Language::Uz),
        ] {
            assert_eq!(wanted(query, cookie).or(Language::Uz), language, "{query} {cookie}");
        }
    }

    #[test]
    fn only_addresses_of_a_page_whose_address_names_the_language_name_it() {
        let named = wanted("lang=ru", "");

        for (address, kept) in
            [("?", "?lang=ru"), ("?choose", "?choose&lang=ru"), ("../token", "../token?lang=ru"), ("", "?lang=ru")]
        {
            assert_eq!(named.keep(address), kept);
            assert_eq!(wanted("", "tasdiq_language=ru").keep(address), address);
        }
    }
}
