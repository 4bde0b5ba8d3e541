//! An account as a call writes it: one and the same account has several spellings.

use serde_json::Value;

/// Whether both texts are the same account. Objects are compared field by field, and a number is its text: Payme's client
/// libraries write `197` and `"197"`, in any order, with and without spaces.
pub(super) fn is_same_account(kept: &str, called: &str) -> bool {
    if kept == called {
        return true;
    }
    match (fields(kept), fields(called)) {
        (Some(kept), Some(called)) => kept == called,
        _ => false,
    }
}

/// The fields of an object by name, each number as text.
fn fields(text: &str) -> Option<Vec<(String, Value)>> {
    let Value::Object(fields) = serde_json::from_str(text).ok()? else { return None };
    let as_text = |value| match value {
        Value::Number(number) => Value::String(number.to_string()),
        other => other,
    };
    let mut fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, as_text(value))).collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::is_same_account;

    #[test]
    fn spellings_of_one_account_are_the_same_and_others_are_not() {
        for called in [r#"{"order_id":197}"#, r#"{"order_id":"197"}"#, "{ \"order_id\" :\n\"197\" }"] {
            assert!(is_same_account(r#"{"order_id":"197"}"#, called), "{called}");
        }
        assert!(is_same_account(r#"{"order_id":"1","phone":"998"}"#, r#"{"phone":998,"order_id":1}"#));
        for called in [
            r#"{"order_id":"0197"}"#,
            r#"{"order_id":197.0}"#,
            r#"{"order_id":["197"]}"#,
            r#"{"order_id":"197","phone":"998"}"#,
            r#"{"order":"197"}"#,
            r#""197""#,
            "197",
            "",
        ] {
            assert!(!is_same_account(r#"{"order_id":"197"}"#, called), "{called}");
        }
        assert!(is_same_account("197", "197"));
        // Click's account is no JSON.
        for called in ["0197", " 197", "197.0", "1970"] {
            assert!(!is_same_account("197", called), "{called}");
        }
    }
}
