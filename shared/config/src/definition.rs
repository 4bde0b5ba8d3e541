//! What a setting is.

/// One setting, as its field defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The variable that sets it.
    pub name: &'static str,
    /// What it means: the field's doc comment, a line each.
    pub doc: &'static str,
    /// What is read where the variable is not set.
    pub default: Option<&'static str>,
    /// The default in words, where the text alone does not tell it.
    pub shown: Option<&'static str>,
    /// Whether its value is a secret, which may stand in a file of its own (`NAME_FILE`).
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

    /// What it means, in one line.
    pub fn meaning(&self) -> String {
        self.doc.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
