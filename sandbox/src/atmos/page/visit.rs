//! A browser's visit: the invoice, and the address to which its payer goes afterwards.

use poem::Body;
use url::{Url, form_urlencoded};

use super::step::{PageProblem, PageStep};
use crate::atmos::codes::ResultLanguage;
use crate::atmos::state::AtmosSandbox;
use crate::atmos::transaction::Transaction;
use crate::state::BODY_BYTES;

/// The page's address, relative to itself and to the targets of its forms.
const PAGE: &str = "get?";

/// The invoice that the browser asks for, from the query or from a form.
pub(super) struct Visit {
    pub(super) transaction_id: i64,
    pub(super) redirect_link: Option<RedirectLink>,
    fields: Vec<(String, String)>,
}

impl Visit {
    /// Reads the query of the page or the fields of a form.
    ///
    /// # Errors
    /// The fault of the link.
    pub(super) fn read(state: &AtmosSandbox, encoded: &[u8]) -> Result<Self, PageProblem> {
        let fields: Vec<(String, String)> = form_urlencoded::parse(encoded).into_owned().collect();
        let find = |name: &str| {
            let field = fields.iter().find(|(other, _)| other == name);
            field.map(|(_, value)| value.as_str())
        };
        let store_id = find("storeId").ok_or(PageProblem::Incomplete)?;
        let transaction_id = find("transactionId").ok_or(PageProblem::Incomplete)?;
        let redirect_link = find("redirectLink")
            .filter(|link| !link.is_empty())
            .map(|link| RedirectLink::read(link).ok_or(PageProblem::NoWebPage))
            .transpose()?;
        match transaction_id.parse() {
            Ok(transaction_id) if store_id == state.common.config.store_id => {
                Ok(Visit { transaction_id, redirect_link, fields })
            }
            _ => Err(PageProblem::NoInvoice),
        }
    }

    /// Reads the fields of a form.
    pub(super) async fn from_form(state: &AtmosSandbox, form: Body) -> Result<Self, PageProblem> {
        match form.into_bytes_limit(BODY_BYTES).await {
            Ok(bytes) => Visit::read(state, &bytes),
            Err(_) => Err(PageProblem::Unreadable),
        }
    }

    /// A field without the spaces that people type.
    pub(super) fn typed(&self, name: &str) -> String {
        let field = self.fields.iter().find(|(other, _)| other == name);
        let value = field.map_or("", |(_, value)| value.as_str());
        value.chars().filter(|character| !character.is_whitespace()).collect()
    }

    /// The language of the page: the address names it, or the merchant's call did.
    pub(super) fn language(&self, transaction: &Transaction) -> ResultLanguage {
        self.named_language().or(transaction.language).unwrap_or(ResultLanguage::English)
    }

    fn named_language(&self) -> Option<ResultLanguage> {
        ResultLanguage::read(&self.typed("lang"))
    }

    /// The language as a form sends it on; empty if the address names none.
    pub(super) fn lang(&self) -> &'static str {
        self.named_language().map_or("", ResultLanguage::code)
    }

    /// The page's address in a language.
    pub(super) fn link_in(&self, state: &AtmosSandbox, step: PageStep, language: ResultLanguage) -> String {
        self.address(state, step, Some(language))
    }

    /// The page's address, relative to itself and to the forms' targets, so that it works under any prefix.
    pub(super) fn link(&self, state: &AtmosSandbox, step: PageStep) -> String {
        self.address(state, step, self.named_language())
    }

    fn address(&self, state: &AtmosSandbox, step: PageStep, language: Option<ResultLanguage>) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix(String::from(PAGE), PAGE.len());
        query
            .append_pair("storeId", &state.common.config.store_id)
            .append_pair("transactionId", &self.transaction_id.to_string());
        if let Some(link) = &self.redirect_link {
            query.append_pair("redirectLink", link.text());
        }
        if step == PageStep::Otp {
            query.append_pair("step", "otp");
        }
        if let Some(language) = language {
            query.append_pair("lang", language.code());
        }
        query.finish()
    }
}

/// The address to which the shop wants its customer back: a web page, exactly as the shop wrote it.
pub(super) struct RedirectLink(String);

impl RedirectLink {
    fn read(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        // Nothing may be appended, so the text is not changed unless a header cannot carry it.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        Some(RedirectLink(if is_plain { text.to_owned() } else { url.into() }))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_link_stays_as_it_was_given() {
        for link in ["http://shop.test", "https://shop.test/back?order=1&x=%20#end"] {
            assert_eq!(RedirectLink::read(link).expect("a link").text(), link);
        }
    }

    #[test]
    fn a_redirect_link_leads_to_a_web_page_or_nowhere() {
        for link in ["javascript:alert(1)", "data:text/html,x", "//shop.test", "/back", "ftp://shop.test", "shop.test"]
        {
            assert!(RedirectLink::read(link).is_none(), "{link}");
        }
        // A line break would begin another header.
        let link = RedirectLink::read("http://shop.test/\r\nX-Evil:1").expect("a link");
        assert_eq!(link.text(), "http://shop.test/X-Evil:1");
    }
}
