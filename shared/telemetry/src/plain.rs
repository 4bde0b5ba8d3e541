//! Makes text safe for a log line: no character that moves a terminal's cursor, hides text or begins a new line, and no
//! endless value. Parts of our lines come from callers, the gateway and Redis.

use std::fmt::{self, Write};

use tracing::field::Field;
use tracing_subscriber::fmt::format::Writer;

/// The most characters of a message. Our own messages are shorter, unless they quote a long text.
const MESSAGE_CHARACTERS: usize = 2_000;

/// The most characters of a field's value.
const FIELD_CHARACTERS: usize = 500;

/// Writes a field as `name=value`, and the message as it is.
pub(super) fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let (name, most) = match field.name() {
        "message" => (None, MESSAGE_CHARACTERS),
        name => (Some(name.strip_prefix("r#").unwrap_or(name)), FIELD_CHARACTERS),
    };
    match name {
        // Italics and a dim sign, as tracing-subscriber has it.
        Some(name) if writer.has_ansi_escapes() => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
        Some(name) => write!(writer, "{name}=")?,
        None => (),
    }
    let mut plain = Plain { to: writer, left: most };
    // A value that cannot be formatted or is cut must not end the rest of the line.
    let _ = write!(plain, "{value:?}");
    Ok(())
}

/// Text from outside, safe for a line, of `most` characters at most; a sign shows that there are more.
pub fn plain(text: &str, most: usize) -> String {
    let mut whole = String::new();
    let _ = Plain { to: &mut whole, left: most }.write_str(text);
    whole
}

/// Writes plain characters on, up to a number of them.
struct Plain<'a, W> {
    to: &'a mut W,
    left: usize,
}

impl<W: Write> Write for Plain<'_, W> {
    /// # Errors
    /// Also when the text was cut: the rest need not be formatted.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for sign in text.chars() {
            if self.left == 0 {
                self.to.write_char('…')?;
                return Err(fmt::Error);
            }
            self.left -= 1;
            self.to.write_char(match sign {
                '\n' | '\r' | '\t' => ' ',
                sign if sign.is_control() || is_invisible(sign) => '\u{fffd}',
                sign => sign,
            })?;
        }
        Ok(())
    }
}

/// Marks that turn the direction of writing or take no room, and separators that some readers take for a line's end.
fn is_invisible(sign: char) -> bool {
    matches!(sign, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_from_outside_forges_no_line_and_steers_no_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\nWARN c\u{202e}d", 100), "a\u{fffd}[2Jb  WARN c\u{fffd}d");
        assert_eq!(plain("soʻm", 3), "soʻ…");
        assert_eq!(plain("soʻm", 4), "soʻm");
    }

    proptest! {
        /// Shows: INVARIANT-18
        #[test]
        fn whatever_comes_is_one_short_line(text in any::<String>(), most in 0usize..50) {
            let plain = plain(&text, most);

            prop_assert!(!plain.chars().any(|sign| sign.is_control() || is_invisible(sign)), "{plain:?}");
            prop_assert!(plain.chars().count() <= most + 1);
        }
    }
}
