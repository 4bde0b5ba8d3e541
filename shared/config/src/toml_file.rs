//! A file of settings in TOML: tables whose keys are settings, each with its line.

use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use domain::secret::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::contract::NEAR;
use super::fault::ConfigFault;

/// No file of settings is longer. A longer file was named by mistake.
const LONGEST_FILE: u64 = 1024 * 1024;

/// The path of a secret's file, as a key of a small table: `{ file = "…" }`.
const FILE_KEY: &str = "file";

/// One table of a file of settings.
#[derive(Debug)]
pub struct Table {
    /// The table's place in the file.
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
}

/// Where something stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The variable that names the file.
    pub(super) variable: &'static str,
    /// The file's name, as the variable gives it.
    pub(super) file: String,
    /// The directory of the file: paths in it begin there.
    pub(super) folder: PathBuf,
    /// The line, counted from 1.
    pub(super) line: usize,
    /// The names that lead to it, such as `shops.tea`; empty for the file's top.
    pub(super) path: String,
}

/// One key of a table, with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: TomlValue,
}

/// A value as it was written. Any may be a secret.
#[derive(Debug)]
pub(super) enum TomlValue {
    /// A text, a whole number or a truth.
    Text(Secret),
    /// Several texts.
    List(Vec<TomlValue>),
    Table(Table),
    /// A value of a sort that no setting has.
    Other(&'static str),
}

impl Place {
    /// A fault of what stands here.
    pub(super) fn fault(&self, what: impl Into<String>) -> ConfigFault {
        let subject = match self.path.as_str() {
            "" => format!("{}:{}", self.file, self.line),
            path => format!("{}:{}: {path}", self.file, self.line),
        };
        ConfigFault { variable: self.variable.to_owned(), place: Some(subject), what: what.into() }
    }

    /// The place of a key of the table that stands here.
    pub(super) fn of_key(&self, key: &str, line: usize) -> Place {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Place { path, line, ..self.clone() }
    }
}

impl Table {
    /// Reads the file at `path`, which `variable` names.
    ///
    /// # Errors
    /// The file cannot be read, or is not TOML: all faults of the writing, each with its line. None repeats a value.
    pub fn read(variable: &'static str, path: &Path) -> Result<Self, Vec<ConfigFault>> {
        let of_variable = |what: String| vec![ConfigFault { variable: variable.to_owned(), place: None, what }];
        let text = text_of(path).map_err(of_variable)?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let place = Place { variable, file: path.display().to_string(), folder, line: 1, path: String::new() };
        let (table, errors) = DeTable::parse_recoverable(&text);
        let faults: Vec<ConfigFault> = errors
            .iter()
            .map(|error| {
                let line = line_of(&text, error.span().unwrap_or_default());
                // Its first line says what was expected, in words of the parser.
                let message = error.message().lines().next().unwrap_or_default();
                Place { line, ..place.clone() }.fault(format!("cannot be read as TOML: {message}"))
            })
            .collect();
        match faults.is_empty() {
            true => Ok(Table::of(table.get_ref(), place, &text)),
            false => Err(faults),
        }
    }

    fn of(table: &DeTable<'_>, place: Place, text: &str) -> Self {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| {
                let line = line_of(text, key.span());
                let place = place.of_key(key.get_ref(), line);
                Entry { key: key.get_ref().to_string(), line, value: TomlValue::of(value, place, text) }
            })
            .collect();
        entries.sort_by_key(|entry| entry.line);
        Table { place, entries }
    }

    /// The tables in this one, with their names, in the order of the file.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &Table)> {
        self.entries.iter().filter_map(|entry| match &entry.value {
            TomlValue::Table(table) => Some((entry.key.as_str(), table)),
            _ => None,
        })
    }

    /// The table of this name in this one.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables().find(|(key, _)| *key == name).map(|(_, table)| table)
    }

    /// A fault of this table.
    pub fn fault(&self, what: impl Into<String>) -> ConfigFault {
        self.place.fault(what)
    }

    /// The names that lead to this table, such as `shops.tea`.
    pub fn path(&self) -> &str {
        &self.place.path
    }

    /// A fault of each key that is not among these, or whose value is no table.
    pub fn tables_alone(&self, known: Option<&[&str]>) -> Vec<ConfigFault> {
        let is_known = |key: &str| known.is_none_or(|known| known.contains(&key));
        let faults = self.entries.iter().filter_map(|entry| match &entry.value {
            TomlValue::Table(_) if is_known(&entry.key) => None,
            _ if is_known(&entry.key) => Some((entry, "is no table".to_owned())),
            _ => Some((entry, unknown(&entry.key, known.unwrap_or_default()))),
        });
        faults.map(|(entry, what)| self.place.of_key(&entry.key, entry.line).fault(what)).collect()
    }
}

/// The fault of a key that is none, with the one that was meant.
pub(super) fn unknown(key: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (strsim::levenshtein(key, known), *known)).min();
    match near {
        Some((edits, near)) if edits <= NEAR => format!("is no setting; did you mean {near}?"),
        _ => format!("is no setting; here may stand {}", known.join(", ")),
    }
}

impl TomlValue {
    fn of(value: &Spanned<DeValue<'_>>, place: Place, text: &str) -> Self {
        match value.get_ref() {
            DeValue::String(value) => TomlValue::Text(Secret::new(value.as_ref())),
            DeValue::Integer(number) if number.radix() == 10 => TomlValue::Text(Secret::new(number.as_str())),
            DeValue::Boolean(truth) => TomlValue::Text(Secret::new(truth.to_string())),
            DeValue::Array(values) => {
                TomlValue::List(values.iter().map(|value| TomlValue::of(value, place.clone(), text)).collect())
            }
            DeValue::Table(table) => TomlValue::Table(Table::of(table, place, text)),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => {
                TomlValue::Other(value.get_ref().type_str())
            }
        }
    }

    /// The value as a variable would have it. Several are joined with commas.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn text(&self, is_secret: bool, folder: &Path) -> Result<Secret, String> {
        match self {
            TomlValue::Text(text) => Ok(text.clone()),
            TomlValue::List(values) => {
                let texts = values.iter().map(|value| match value {
                    TomlValue::List(_) => Err("is a list in a list".to_owned()),
                    value => value.text(is_secret, folder),
                });
                let texts: Vec<Secret> = texts.collect::<Result<_, _>>()?;
                Ok(Secret::new(texts.iter().map(Secret::expose).collect::<Vec<_>>().join(",")))
            }
            TomlValue::Table(table) => match table.entries.as_slice() {
                [Entry { key, value: TomlValue::Text(path), .. }] if key == FILE_KEY => match is_secret {
                    true => super::variables::read_secret(&folder.join(path.expose())).map(Secret::new),
                    false => Err("is no secret, so its value must stand here and not in a file of its own".to_owned()),
                },
                _ if is_secret => Err("is neither a text nor { file = \"…\" }".to_owned()),
                _ => Err("is a table where a text must stand".to_owned()),
            },
            TomlValue::Other(sort) => Err(format!("is a {sort}, which no setting is; write it in quotes")),
        }
    }
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1
}

fn text_of(path: &Path) -> Result<String, String> {
    let unreadable =
        |error: std::io::Error| format!("must name a file of settings, and that file cannot be read ({error})");
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("must name a file of settings, and names something else".to_owned());
    }
    let mut text = String::new();
    let read = fs::File::open(path).map_err(unreadable)?.take(LONGEST_FILE + 1).read_to_string(&mut text);
    match read {
        Ok(read) if read as u64 > LONGEST_FILE => {
            Err("names a file above 1 MiB, which is no file of settings".to_owned())
        }
        Ok(_) => Ok(text.trim_start_matches('\u{feff}').to_owned()),
        Err(error) => Err(unreadable(error)),
    }
}
