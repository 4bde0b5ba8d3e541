//! The definition of a setting.

/// One setting, as its field defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The variable that sets it.
    pub name: &'static str,
    /// Its meaning: the field's doc comment, line by line.
    pub doc: &'static str,
    /// The text that is read where the variable is not set.
    pub default: Option<&'static str>,
    /// The default in words, where the text alone is not clear.
    pub shown: Option<&'static str>,
    /// Whether its value is a secret, which may be in a separate file (`NAME_FILE`).
    pub is_secret: bool,
}

impl Definition {
    /// The default as a table shows it.
    pub fn shown_default(&self) -> String {
        match (self.shown, self.default) {
            (Some(words), _) => words.to_owned(),
            (None, Some(text)) => format!("`{text}`"),
            (None, None) => "none".to_owned(),
        }
    }

    /// Its meaning, in one line.
    pub fn meaning(&self) -> String {
        self.doc.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
