//! The fields of a gateway's call to us, each as it is written: signatures cover the text, not its meaning.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use domain::body_coding::without_byte_order_mark;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The read fields of a JSON object or form, by name. `None` for `true`, `false` or `null`: no signature covers these.
#[derive(Debug)]
pub(crate) struct CallFields<'a>(HashMap<Cow<'a, str>, Option<Cow<'a, str>>>);

impl<'a> CallFields<'a> {
    /// Reads the fields of these names, and ignores all others, whatever value they hold.
    ///
    /// The body may be a JSON object, a form whose only field holds such an object, or a plain form, whatever its content
    /// type says, and each may begin with a byte order mark.
    ///
    /// `None` where it is none of these, or a read field is nested, or there twice: two readers of a doubled name may see two
    /// different payments.
    pub(crate) fn read(body: &'a [u8], names: &[&str]) -> Option<Self> {
        let body = without_byte_order_mark(body);
        if let Ok(Members(members)) = serde_json::from_slice(body) {
            return Self::of_members(members, names);
        }
        let pairs: Vec<_> = url::form_urlencoded::parse(body).collect();
        if let [(name, value)] = pairs.as_slice() {
            let document = if value.is_empty() { name } else { value };
            let document = without_byte_order_mark(document.as_bytes());
            let Members(members) = serde_json::from_slice(document).ok()?;
            return CallFields::of_members(members, names).map(CallFields::into_owned);
        }
        let mut fields = HashMap::new();
        for (name, value) in pairs.into_iter().filter(|(name, _)| names.contains(&name.as_ref())) {
            if fields.insert(name, Some(value)).is_some() {
                return None;
            }
        }
        Some(CallFields(fields))
    }

    /// The text of a field: a string, decoded, or a number with the digits it was written with.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }

    fn of_members(members: Vec<(String, &'a RawValue)>, names: &[&str]) -> Option<Self> {
        let mut fields = HashMap::new();
        for (name, raw) in members {
            let (text, is_read) = (raw.get(), names.contains(&name.as_str()));
            let scalar = match text.as_bytes().first()? {
                // Also where it is not read: a string that is no text makes the whole body unreadable.
                b'"' => Some(Cow::Owned(serde_json::from_str(text).ok()?)),
                _ if !is_read => continue,
                // It could not be signed.
                b'{' | b'[' => return None,
                b't' | b'f' | b'n' => None,
                _ => Some(Cow::Borrowed(text)),
            };
            if is_read && fields.insert(Cow::Owned(name), scalar).is_some() {
                return None;
            }
        }
        Some(CallFields(fields))
    }

    fn into_owned<'b>(self) -> CallFields<'b> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        CallFields(self.0.into_iter().map(|(name, text)| (owned(name), text.map(owned))).collect())
    }
}

/// The members of a JSON object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}
