//! Text from outside that people will read: names, references and reasons.

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// Nothing is visible: it is empty, or has only spaces and invisible characters.
    #[error("there is nothing to see in it")]
    Blank,
    /// It has too many characters.
    #[error("it is too long")]
    TooLong,
    /// A line break or another control character.
    #[error("it has a line break or another control character")]
    Control,
    /// A character that changes the direction of writing, so that the text after it reads as something else.
    #[error("it has a mark that turns the direction of writing")]
    Direction,
}

/// Checks that a text may be shown to people: something is visible, it has at most `most` characters, and none of them
/// breaks the line or changes how it reads.
///
/// # Errors
/// [`TextFault`].
pub fn check(text: &str, most: usize) -> Result<(), TextFault> {
    if text.chars().any(|sign| sign.is_control() || is_line_end(sign)) {
        return Err(TextFault::Control);
    }
    if text.chars().any(turns_direction) {
        return Err(TextFault::Direction);
    }
    if text.chars().all(|sign| sign.is_whitespace() || takes_no_room(sign)) {
        return Err(TextFault::Blank);
    }
    if text.chars().count() > most {
        return Err(TextFault::TooLong);
    }
    Ok(())
}

/// A text from outside that is safe on a terminal or a page: characters that [`check`] refuses are replaced. Rows of
/// earlier releases may have them.
pub fn plain(text: &str) -> String {
    let is_refused = |sign: char| sign.is_control() || is_line_end(sign) || turns_direction(sign);
    text.chars().map(|sign| if is_refused(sign) { '\u{fffd}' } else { sign }).collect()
}

/// Line and paragraph separator.
fn is_line_end(sign: char) -> bool {
    matches!(sign, '\u{2028}' | '\u{2029}')
}

/// Marks, embeddings, overrides and isolates of the bidirectional algorithm (Unicode UAX #9), and their deprecated kin.
fn turns_direction(sign: char) -> bool {
    matches!(sign, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
}

/// Characters that show nothing by themselves: zero-width joiners and spaces, fillers, selectors, tags. Together with
/// others they may be meant, as in a family emoji.
fn takes_no_room(sign: char) -> bool {
    matches!(sign,
        '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_people_can_read_is_taken() {
        for text in
            ["Somsa, 2 dona", "Чай зелёный", "soʻm oʻn", "شاي", "👨\u{200d}👩\u{200d}👧 to\u{200b}y", " x ", "茶"]
        {
            assert_eq!(check(text, 20), Ok(()), "{text:?}");
            assert_eq!(plain(text), text);
        }
    }

    /// Shows: PERSON-8
    #[test]
    fn text_with_nothing_to_see_is_blank() {
        for text in [
            "",
            " ",
            "\u{200b}",
            "\u{feff}\u{2060} \u{200d}",
            "\u{3164}",
            "\u{2800}",
            "\u{e0020}",
            "\u{fe0f}",
            "\u{a0}",
        ] {
            assert_eq!(check(text, 20), Err(TextFault::Blank), "{text:?}");
        }
    }

    /// Shows: PERSON-8
    #[test]
    fn text_that_reads_otherwise_than_it_is_is_refused() {
        for sign in ['\u{202e}', '\u{202d}', '\u{200f}', '\u{200e}', '\u{061c}', '\u{2066}', '\u{2069}'] {
            let text = format!("paid{sign}50.00");
            assert_eq!(check(&text, 20), Err(TextFault::Direction), "{text:?}");
            assert_eq!(plain(&text), "paid\u{fffd}50.00");
        }
        for text in ["a\nb", "a\u{1b}[2J", "a\u{2028}b", "\u{85}", "a\0"] {
            assert_eq!(check(text, 20), Err(TextFault::Control), "{text:?}");
        }
    }

    #[test]
    fn a_text_has_as_many_characters_as_it_may() {
        assert_eq!(check("чай", 3), Ok(()));
        assert_eq!(check("чаёк", 3), Err(TextFault::TooLong));
    }
}
