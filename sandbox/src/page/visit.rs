//! Which invoice a browser asks for, and where its payer goes afterwards.

use poem::Body;
use url::{Url, form_urlencoded};

use super::step::{PageProblem, Step};
use crate::gateway::{BODY_BYTES, Gateway};

/// The page, seen from itself and from the targets of its forms.
const PAGE: &str = "get?";

/// Which invoice the browser means, from the query or from a form.
pub(super) struct Visit {
    pub(super) transaction_id: i64,
    pub(super) redirect_link: Option<RedirectLink>,
    fields: Vec<(String, String)>,
}

impl Visit {
    /// Reads the query of the page or the fields of a form.
    ///
    /// # Errors
    /// What is wrong with the link.
    pub(super) fn read(gateway: &Gateway, encoded: &[u8]) -> Result<Self, PageProblem> {
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
            Ok(transaction_id) if store_id == gateway.config.store_id => {
                Ok(Self { transaction_id, redirect_link, fields })
            }
            _ => Err(PageProblem::NoInvoice),
        }
    }

    /// Reads the fields of a form.
    pub(super) async fn from_form(gateway: &Gateway, form: Body) -> Result<Self, PageProblem> {
        match form.into_bytes_limit(BODY_BYTES).await {
            Ok(bytes) => Self::read(gateway, &bytes),
            Err(_) => Err(PageProblem::Unreadable),
        }
    }

    /// A field without the spaces people type.
    pub(super) fn typed(&self, name: &str) -> String {
        let field = self.fields.iter().find(|(other, _)| other == name);
        let value = field.map_or("", |(_, value)| value.as_str());
        value.chars().filter(|character| !character.is_whitespace()).collect()
    }

    /// The page itself, relative to it and to the forms' targets, so that it may live under any prefix.
    pub(super) fn link(&self, gateway: &Gateway, step: Step) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix(String::from(PAGE), PAGE.len());
        query
            .append_pair("storeId", &gateway.config.store_id)
            .append_pair("transactionId", &self.transaction_id.to_string());
        if let Some(link) = &self.redirect_link {
            query.append_pair("redirectLink", link.text());
        }
        if step == Step::Otp {
            query.append_pair("step", "otp");
        }
        query.finish()
    }
}

/// Where the shop wants its customer back: a web page, and written as the shop wrote it.
pub(super) struct RedirectLink(String);

impl RedirectLink {
    fn read(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        // Nothing may be appended, so the text stays as it is unless a header cannot carry it.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        Some(Self(if is_plain { text.to_owned() } else { url.into() }))
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
