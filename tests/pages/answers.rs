//! A shown answer against what was answered.

use serde_json::Value;

/// Stands for more in a shown answer.
const MORE: &str = "…";

/// The shown answer as JSON: a bare `…` becomes a value, or a field of that name.
fn parse(shown: &str) -> Result<Value, serde_json::Error> {
    let (mut text, mut is_string, mut is_escaped) = (String::new(), false, false);
    let mut within = Vec::new();
    for sign in shown.chars() {
        if is_string {
            text.push(sign);
            is_string = is_escaped || sign != '"';
            is_escaped = !is_escaped && sign == '\\';
            continue;
        }
        match sign {
            '"' => is_string = true,
            '{' | '[' => within.push(sign),
            '}' | ']' => drop(within.pop()),
            _ => (),
        }
        if sign != '…' {
            text.push(sign);
        } else if within.last() == Some(&'{') && !text.trim_end().ends_with(':') {
            text.push_str(r#""…":"…""#);
        } else {
            text.push_str(r#""…""#);
        }
    }
    serde_json::from_str(&text)
}

/// Checks that the answer has the shape that is shown; the error tells the first difference.
pub(super) fn fits(shown: &str, answered: &str) -> Result<(), String> {
    let shown = parse(shown).map_err(|error| format!("the shown answer is no JSON: {error}"))?;
    let answered =
        serde_json::from_str(answered).map_err(|error| format!("the answer is no JSON document: {error}"))?;
    compare("", &shown, &answered)
}

fn compare(path: &str, shown: &Value, answered: &Value) -> Result<(), String> {
    match (shown, answered) {
        (Value::String(more), _) if more == MORE => Ok(()),
        (Value::Null, _) | (_, Value::Null) => Ok(()),
        (Value::Object(shown), Value::Object(answered)) => {
            for (key, value) in shown.iter().filter(|(key, _)| *key != MORE) {
                let answer = answered.get(key).ok_or_else(|| format!("{path}.{key} is shown, and was not answered"))?;
                compare(&format!("{path}.{key}"), value, answer)?;
            }
            match answered.keys().find(|key| !shown.contains_key(*key)) {
                Some(key) if !shown.contains_key(MORE) => Err(format!("{path}.{key} was answered, and is not shown")),
                _ => Ok(()),
            }
        }
        (Value::Array(shown), Value::Array(answered)) => {
            for value in shown {
                let found = answered.iter().map(|answer| compare(&format!("{path}[]"), value, answer));
                let found: Vec<_> = found.collect();
                if !found.iter().any(Result::is_ok) {
                    return found.into_iter().next().unwrap_or_else(|| Err(format!("{path} is empty")));
                }
            }
            Ok(())
        }
        (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => Ok(()),
        _ => Err(format!("{path} is {answered}, and shown as {shown}")),
    }
}

#[test]
fn values_may_differ_and_keys_may_not() {
    for (shown, answered) in [
        (r#"{"a":1,"b":"x"}"#, r#"{"b":"y","a":2}"#),
        (r#"{"a":1,…}"#, r#"{"a":2,"b":3}"#),
        (r#"{"a":…,"b":"http://…"}"#, r#"{"a":{},"b":"x"}"#),
        (r#"{"a":"…"}"#, r#"{"a":[1]}"#),
        (r#"{"a":[{"b":1}]}"#, r#"{"a":[{"c":1},{"b":2}]}"#),
        (r#"{"a":null}"#, r#"{"a":7}"#),
        (r#"[{"a":"\"…"},…]"#, r#"[{"a":"x"}]"#),
    ] {
        assert_eq!(fits(shown, answered), Ok(()), "{shown}");
    }
    for (shown, answered, part) in [
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, ".b was answered"),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, ".b is shown"),
        (r#"{"a":[{"b":1}]}"#, r#"{"a":[]}"#, ".a is empty"),
        (r#"{"a":[{"b":1}]}"#, r#"{"a":[{"c":1}]}"#, ".a[].b is shown"),
        (r#"{"a":"1"}"#, r#"{"a":1}"#, ".a is 1"),
        (r#"{"a":1}"#, "a", "no JSON document"),
    ] {
        assert!(fits(shown, answered).unwrap_err().contains(part), "{shown}");
    }
}
