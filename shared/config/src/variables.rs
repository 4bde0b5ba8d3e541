//! The sources of settings: the environment, a file `.env`, and files with one secret each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use domain::secret::Secret;

use super::contract::{Contract, FILE, looks_like_ours};
use super::fault::{ConfigFault, ConfigFaults};

/// No secret is longer. A longer file was named by mistake.
const LONGEST_SECRET: u64 = 64 * 1024;

/// Editors on Windows begin a file with it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The file of settings in the working directory. Its faults have this name.
const DOTENV: &str = ".env";

/// Names another file of settings, or with an empty value none.
const DOTENV_VARIABLE: &str = "TASDIQ_ENV_FILE";

crate::settings! {
    /// The file with other settings. It is read before all others, by [`Variables::of_this_process`].
    #[derive(Clone, Debug)]
    pub struct FileSettings {
        /// A file with settings; empty for none.
        #[env(
            "TASDIQ_ENV_FILE",
            default = ".env",
            shown = "`.env` in the working directory, if it is there",
            check = |path| Ok::<_, String>(path.to_owned())
        )]
        pub path: String,
    }
}

/// The variables as they were given, before any is read.
#[derive(Clone, Default)]
pub struct Variables {
    given: Vec<(OsString, OsString)>,
    from_dotenv: Vec<String>,
    faults: Vec<ConfigFault>,
}

/// Only names: the values may be secrets.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.given.iter().map(|(name, _)| name)).finish()
    }
}

impl FromIterator<(OsString, OsString)> for Variables {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(given: I) -> Self {
        Variables { given: given.into_iter().collect(), ..Variables::default() }
    }
}

impl Variables {
    /// The environment of this process, and the settings that a file `.env` in its working directory adds, or the file that
    /// `TASDIQ_ENV_FILE` names. A variable of the environment, also an empty one, has priority over the file; a secret and
    /// the variable of its file count as one. Names that are not ours are left out.
    pub fn of_this_process(contract: &Contract) -> Self {
        let variables: Variables = std::env::vars_os().collect();
        match variables.get(DOTENV_VARIABLE) {
            None => variables.with_dotenv(contract, Path::new(DOTENV)),
            Some(path) if path.trim().is_empty() => variables,
            Some(path) if Path::new(path.trim()).is_file() => variables.with_dotenv(contract, Path::new(path.trim())),
            Some(_) => {
                variables.with_fault(DOTENV_VARIABLE, "names no file of settings; mend it, or leave it empty for none")
            }
        }
    }

    fn with_fault(mut self, variable: &str, what: impl Into<String>) -> Self {
        self.faults.push(ConfigFault::of(variable, what));
        self
    }

    /// With the settings that this file adds, if it is there; as `.env` in the working directory of a process.
    #[must_use]
    pub fn with_dotenv(self, contract: &Contract, path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => (),
            // A directory of that name belongs to another program.
            Ok(metadata) if metadata.is_dir() => return self,
            Err(_) if fs::symlink_metadata(path).is_err() => return self,
            // Without its settings this process might serve another shop, or the sandbox.
            Ok(_) | Err(_) => {
                return self.with_fault(DOTENV, "is there, and is no file that can be read; mend or remove it");
            }
        }
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.with_fault(DOTENV, format!("cannot be read ({error}); mend or remove the file")),
        };
        let text = text.trim_start_matches(BYTE_ORDER_MARK);
        let is_ours = |name: &str| contract.known(name).is_some() || looks_like_ours(name);
        // The setting of a variable: itself, or the secret whose file it names.
        let setting = |name: &str| contract.secret_of(name).unwrap_or(name).to_owned();
        let from_environment: Vec<String> =
            self.given.iter().map(|(name, _)| setting(&name.to_string_lossy())).collect();
        let (mut variables, mut bad_lines) = (self, lines_with_dollar(text, is_ours));
        for line in dotenvy::from_read_iter(text.as_bytes()) {
            match line {
                Ok((name, value)) => {
                    let is_taken = is_ours(&name) && name != DOTENV_VARIABLE;
                    if is_taken && !from_environment.contains(&setting(&name)) {
                        if contract.known(&name).is_some() && !variables.from_dotenv.contains(&name) {
                            variables.from_dotenv.push(name.clone());
                        }
                        // The last line of a name counts, as in a shell.
                        variables.given.retain(|(given, _)| *given != *name);
                        variables.given.push((name.into(), value.into()));
                    }
                }
                Err(error) => bad_lines.push(number_of(text, &error)),
            }
        }
        match bad_lines.as_slice() {
            [] => variables,
            numbers => variables.with_fault(
                DOTENV,
                format!(
                    "has lines that cannot be read as NAME=value (line {}); mend them, and put a value with blanks, quotes, # \
                     or $ in single quotes",
                    numbers.join(", ")
                ),
            ),
        }
    }

    /// The names of ours that were taken from `.env`, in its order.
    pub fn from_dotenv(&self) -> &[String] {
        &self.from_dotenv
    }

    /// The variables without a fault; the faults are left out, too.
    #[must_use]
    pub fn without(&self, faults: &ConfigFaults) -> Self {
        self.only(|name| !faults.iter().any(|fault| name == fault.variable.as_str()))
    }

    /// The variables whose name `keeps` accepts, without faults.
    #[must_use]
    pub fn only(&self, keeps: impl Fn(&OsString) -> bool) -> Self {
        let given = self.given.iter().filter(|(name, _)| keeps(name)).cloned().collect();
        Variables { given, from_dotenv: self.from_dotenv.clone(), faults: Vec::new() }
    }

    /// All of them in one line, for another process of ours that must have the same settings.
    pub fn to_line(&self) -> Secret {
        let all: BTreeMap<_, _> =
            self.given.iter().map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy())).collect();
        Secret::new(serde_json::to_string(&all).unwrap_or_default())
    }

    /// Reads a line of [`Variables::to_line`].
    ///
    /// # Errors
    /// The line is no such line.
    pub fn from_line(line: &str) -> serde_json::Result<Self> {
        let all: BTreeMap<String, String> = serde_json::from_str(line)?;
        Ok(all.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// All that was given, with its names.
    pub fn iter(&self) -> impl Iterator<Item = &(OsString, OsString)> {
        self.given.iter()
    }

    /// The variable's value. If it is not UTF-8, a mark stands for each wrong byte.
    pub fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.given.iter().find(|(given, _)| given == name)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// The variables that are settings, without the variables that name files.
    #[must_use]
    pub fn ours(&self, contract: &Contract) -> Self {
        let is_ours = |name: &str| contract.known(name).is_some() && contract.secret_of(name).is_none();
        self.only(|name| name.to_str().is_some_and(is_ours))
    }

    /// Adds the secrets from files, as far as they are read. Answers the faults of the files, too.
    pub fn opened(&self, contract: &Contract, is_read: impl Fn(&str) -> bool) -> (Self, Vec<ConfigFault>) {
        let mut opened = self.clone();
        let mut faults = std::mem::take(&mut opened.faults);
        for name in contract.secrets().filter(|name| is_read(name)) {
            let variable = format!("{name}{FILE}");
            let is_set = |name: &str| self.get(name).is_some_and(|value| !value.trim().is_empty());
            let Some(path) = self.get(&variable).filter(|path| !path.trim().is_empty()) else { continue };
            let secret = if is_set(name) {
                Err(format!("is set beside {name}; keep one of the two"))
            } else {
                read_secret(Path::new(path.trim()))
            };
            match secret {
                Ok(secret) => {
                    opened.given.retain(|(given, _)| given != name);
                    opened.given.push((name.into(), secret.into()));
                }
                Err(what) => faults.push(ConfigFault::of(&variable, what)),
            }
        }
        (opened, faults)
    }
}

/// The number of the line. The error's own message repeats the line, which may hold a secret.
fn number_of(text: &str, error: &dotenvy::Error) -> String {
    let number = match error {
        dotenvy::Error::LineParse(line, _) => text.lines().position(|other| other.contains(line.trim())),
        _ => None,
    };
    number.map_or_else(|| "?".to_owned(), |number| (number + 1).to_string())
}

/// Our lines with a `$` outside single quotes. The reader would replace it by another variable's value or by nothing, and so
/// change a secret.
fn lines_with_dollar(text: &str, is_ours: impl Fn(&str) -> bool) -> Vec<String> {
    let has_dollar = |line: &str| {
        let Some((name, value)) = line.split_once('=') else { return false };
        let name = name.trim().trim_start_matches("export ").trim();
        let value = value.trim_start();
        is_ours(name) && !value.starts_with('\'') && value.replace("\\$", "").contains('$')
    };
    let lines = text.lines().enumerate().filter(|(_, line)| has_dollar(line));
    lines.map(|(index, _)| (index + 1).to_string()).collect()
}

/// Reads the secret from its file. No error repeats the path, which may be the secret itself.
pub(super) fn read_secret(path: &Path) -> Result<String, String> {
    let unreadable =
        |error: io::Error| format!("must name a file with the secret, and that file cannot be read ({error})");
    // A pipe can be read only once, and the start may wait for it.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("must name a file with the secret, and names something else".to_owned());
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut secret = String::new();
    match file.take(LONGEST_SECRET + 1).read_to_string(&mut secret) {
        Ok(read) if read as u64 > LONGEST_SECRET => Err("names a file above 64 KiB, which is no secret".to_owned()),
        Ok(_) => {
            let secret = secret.trim_start_matches(BYTE_ORDER_MARK).trim();
            match secret.lines().count() {
                0 => Err("names a file that is empty".to_owned()),
                1 => Ok(secret.to_owned()),
                _ => Err("names a file of several lines, where one is the secret".to_owned()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err("names a file that is not UTF-8 text".to_owned())
        }
        Err(error) => Err(unreadable(error)),
    }
}
