//! The shop as its customers see it: name, logo, and the way to reach it.

use domain::order::Language;
use domain::shops::ShopWords;
use domain::web_address;
use url::Url;

/// The most digits of a telephone number in the world (ITU-T E.164).
const MOST_DIGITS: usize = 15;

/// The digits of the shortest one, such as 1173.
const LEAST_DIGITS: usize = 3;

/// The shop as a page shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct ShownShop<'a> {
    /// Its name in the page's language.
    pub(super) name: Option<&'a str>,
    /// The first letter of the name, which stands where the logo does not load.
    pub(super) initial: String,
    /// The address of its logo.
    pub(super) logo: Option<&'a Url>,
    /// How its customers reach it.
    pub(super) support: Option<SupportContact<'a>>,
}

impl<'a> ShownShop<'a> {
    /// The shop of these words.
    pub(super) fn of(words: &'a ShopWords, language: Language) -> Self {
        let name = words.name(language);
        let initial = name.and_then(|name| name.chars().find(|sign| sign.is_alphanumeric()));
        ShownShop {
            name,
            initial: initial.map(|sign| sign.to_uppercase().to_string()).unwrap_or_default(),
            logo: words.logo_url.as_ref().filter(|logo| origin(logo).is_some()),
            support: words.support.as_deref().map(SupportContact::of),
        }
    }

    /// The origin from which the browser may load an image.
    pub(super) fn image_origin(&self) -> Option<String> {
        self.logo.and_then(origin)
    }
}

/// The origin of a logo; `None` for one that a content security policy cannot name, for a host may have signs there that begin
/// something else.
fn origin(logo: &Url) -> Option<String> {
    let is_plain = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    (logo.scheme() == "https" && logo.host_str().is_some_and(is_plain)).then(|| logo.origin().ascii_serialization())
}

/// A way to reach the shop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SupportContact<'a> {
    /// As the shop wrote it.
    pub(super) text: &'a str,
    /// Where it leads; `None` where it is neither a telephone number, an e-mail address nor an https address.
    pub(super) address: Option<String>,
}

impl<'a> SupportContact<'a> {
    fn of(text: &'a str) -> Self {
        SupportContact { text, address: telephone(text).or_else(|| e_mail(text)).or_else(|| https(text)) }
    }
}

fn telephone(text: &str) -> Option<String> {
    let is_of_number = |sign: char| sign.is_ascii_digit() || matches!(sign, ' ' | '\u{a0}' | '-' | '(' | ')');
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let international = text.strip_prefix('+');
    let is_number =
        international.unwrap_or(text).chars().all(is_of_number) && (LEAST_DIGITS..=MOST_DIGITS).contains(&digits.len());
    let plus = if international.is_some() { "+" } else { "" };
    is_number.then(|| format!("tel:{plus}{digits}"))
}

/// The signs that need no escape; other addresses stay text.
fn e_mail(text: &str) -> Option<String> {
    let is_plain = |part: &str, others: &[u8]| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    let (name, host) = text.split_once('@')?;
    (is_plain(name, b"._-+") && is_plain(host, b".-") && host.contains('.')).then(|| format!("mailto:{text}"))
}

fn https(text: &str) -> Option<String> {
    let url = web_address::parse(text).ok()?;
    (url.scheme() == "https").then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_leads_where_its_form_says_or_stays_text() {
        for (text, address) in [
            ("+998 71 200-00-00", Some("tel:+998712000000")),
            ("(71) 200 00 00", Some("tel:712000000")),
            ("1173", Some("tel:1173")),
            ("help@tea.uz", Some("mailto:help@tea.uz")),
            ("https://t.me/tea_uz", Some("https://t.me/tea_uz")),
            ("http://tea.uz", None),
            ("javascript:alert(1)", None),
            ("@tea_uz", None),
            ("a@b?subject=x.uz", None),
            ("help@tea", None),
            ("12", None),
            ("+", None),
            ("1+1+1+1", None),
            ("1234567890123456", None),
            ("Olim, +998 71 200 00 00", None),
        ] {
            assert_eq!(SupportContact::of(text).address.as_deref(), address, "{text}");
        }
    }

    #[test]
    fn a_logo_names_its_origin_and_no_more() {
        let at = |url: &str| origin(&url.parse().unwrap());

        assert_eq!(at("https://Cdn.tea.uz:8443/logo.png").as_deref(), Some("https://cdn.tea.uz:8443"));
        assert_eq!(at("https://tea.uz/a;b").as_deref(), Some("https://tea.uz"));
        assert_eq!(at("http://tea.uz/logo.png"), None);
        assert_eq!(at("https://[::1]/logo.png"), None);
    }

    #[test]
    fn a_shop_has_its_name_in_the_language_of_the_page_or_else_in_another() {
        let words = ShopWords { name_ru: Some("«чайхана»".to_owned()), ..ShopWords::default() };

        let shown = ShownShop::of(&words, Language::En);

        assert_eq!((shown.name, shown.initial.as_str()), (Some("«чайхана»"), "Ч"));
    }
}
