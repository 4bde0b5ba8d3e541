//! Where settings stand: the environment, a file `.env`, and files with one secret each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::fault::{ConfigFault, ConfigFaults};
use super::names::{FILE, SECRETS, known, looks_like_ours, secret_of};
use crate::secret::Secret;

/// More than any secret has. Another file was named by mistake then.
const LONGEST_SECRET: u64 = 64 * 1024;

/// Windows' editors begin a file with it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The file of settings in the working directory, and the name that its faults go by.
const DOTENV: &str = ".env";

/// Names another file of settings, or with an empty value none.
const DOTENV_VARIABLE: &str = "TASDIQ_ENV_FILE";

/// Settings as they were given, before any is read.
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
    /// `TASDIQ_ENV_FILE` names. What is in the environment, be it empty, is not taken from the file; a secret and the
    /// variable of its file count as one. Names that are not ours are left out.
    pub fn of_this_process() -> Self {
        let variables: Variables = std::env::vars_os().collect();
        match variables.get(DOTENV_VARIABLE) {
            None => variables.with_dotenv(Path::new(DOTENV)),
            Some(path) if path.trim().is_empty() => variables,
            Some(path) if Path::new(path.trim()).is_file() => variables.with_dotenv(Path::new(path.trim())),
            Some(_) => {
                variables.with_fault(DOTENV_VARIABLE, "names no file of settings; mend it, or leave it empty for none")
            }
        }
    }

    fn with_fault(mut self, variable: &str, what: impl Into<String>) -> Self {
        self.faults.push(ConfigFault { variable: variable.to_owned(), what: what.into() });
        self
    }

    fn with_dotenv(self, path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => (),
            // A folder of that name is another program's.
            Ok(metadata) if metadata.is_dir() => return self,
            Err(_) if fs::symlink_metadata(path).is_err() => return self,
            // Without its settings this might be another shop, or the sandbox.
            Ok(_) | Err(_) => {
                return self.with_fault(DOTENV, "is there, and is no file that can be read; mend or remove it");
            }
        }
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.with_fault(DOTENV, format!("cannot be read ({error}); mend or remove the file")),
        };
        let text = text.trim_start_matches(BYTE_ORDER_MARK);
        let from_environment: Vec<String> =
            self.given.iter().map(|(name, _)| setting(&name.to_string_lossy()).to_owned()).collect();
        let (mut variables, mut bad_lines) = (self, lines_with_dollar(text));
        for line in dotenvy::from_read_iter(text.as_bytes()) {
            match line {
                Ok((name, value)) => {
                    let is_ours = (known(&name).is_some() || looks_like_ours(&name)) && name != DOTENV_VARIABLE;
                    if is_ours && !from_environment.iter().any(|given| *given == setting(&name)) {
                        if known(&name).is_some() && !variables.from_dotenv.contains(&name) {
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

    /// Without those that have a fault, and without the faults.
    #[must_use]
    pub fn without(&self, faults: &ConfigFaults) -> Self {
        self.only(|name| !faults.iter().any(|fault| name == fault.variable.as_str()))
    }

    /// Those whose name is kept, without faults.
    #[must_use]
    pub fn only(&self, keeps: impl Fn(&OsString) -> bool) -> Self {
        let given = self.given.iter().filter(|(name, _)| keeps(name)).cloned().collect();
        Variables { given, from_dotenv: self.from_dotenv.clone(), faults: Vec::new() }
    }

    /// In one line, for a process of ours that must have the same settings.
    pub fn to_line(&self) -> Secret {
        let all: BTreeMap<_, _> =
            self.given.iter().map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy())).collect();
        Secret::new(serde_json::to_string(&all).unwrap_or_default())
    }

    /// What [`Variables::to_line`] wrote.
    ///
    /// # Errors
    /// The line is another.
    pub fn from_line(line: &str) -> serde_json::Result<Self> {
        let all: BTreeMap<String, String> = serde_json::from_str(line)?;
        Ok(all.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(OsString, OsString)> {
        self.given.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.given.iter().find(|(given, _)| given == name)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// Those that are settings, without the variables of files.
    pub(super) fn ours(&self) -> Self {
        self.only(|name| name.to_str().is_some_and(|name| known(name).is_some() && secret_of(name).is_none()))
    }

    /// With the secrets that stand in files, as far as they are read. Gives what is wrong with the files, too.
    pub(super) fn opened(&self, is_read: impl Fn(&str) -> bool) -> (Self, Vec<ConfigFault>) {
        let mut opened = self.clone();
        let mut faults = std::mem::take(&mut opened.faults);
        for name in SECRETS.into_iter().filter(|name| is_read(name)) {
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
                Err(what) => faults.push(ConfigFault { variable, what }),
            }
        }
        (opened, faults)
    }
}

/// What a variable sets: itself, or the secret whose file it names.
fn setting(name: &str) -> &str {
    secret_of(name).unwrap_or(name)
}

/// Which line it is. The error's own words repeat the line, which may hold a secret.
fn number_of(text: &str, error: &dotenvy::Error) -> String {
    let number = match error {
        dotenvy::Error::LineParse(line, _) => text.lines().position(|other| other.contains(line.trim())),
        _ => None,
    };
    number.map_or_else(|| "?".to_owned(), |number| (number + 1).to_string())
}

/// Lines of ours with a `$` outside single quotes. The reader would put another variable's value there, or nothing, and so
/// cut a secret short.
fn lines_with_dollar(text: &str) -> Vec<String> {
    let has_dollar = |line: &str| {
        let Some((name, value)) = line.split_once('=') else { return false };
        let name = name.trim().trim_start_matches("export ").trim();
        let value = value.trim_start();
        (known(name).is_some() || looks_like_ours(name))
            && !value.starts_with('\'')
            && value.replace("\\$", "").contains('$')
    };
    let lines = text.lines().enumerate().filter(|(_, line)| has_dollar(line));
    lines.map(|(index, _)| (index + 1).to_string()).collect()
}

/// What such a file holds. No complaint repeats the path, which may be the secret itself.
fn read_secret(path: &Path) -> Result<String, String> {
    let unreadable =
        |error: io::Error| format!("must name a file with the secret, and that file cannot be read ({error})");
    // A pipe could be read but once, or keep the start waiting.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Role};
    use crate::store::DatabaseUrl;

    const DATABASE: &str = "postgres://shop:word@db/shop";

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn faults(variables: &Variables) -> Vec<String> {
        match Config::from_variables(Role::Operator, variables) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    fn file(folder: &tempfile::TempDir, name: &str, holds: &[u8]) -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, holds).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_secret_may_stand_in_a_file_without_its_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "database", format!("\u{feff}{DATABASE}\r\n").as_bytes());
        let variables = variables(&[("DATABASE_URL", " "), ("DATABASE_URL_FILE", &path)]);

        let config = Config::from_variables(Role::Operator, &variables).unwrap();

        assert_eq!(config.database, DatabaseUrl::Postgres(Secret::new(DATABASE)));
        assert_eq!(config.warnings, [""; 0]);
    }

    #[test]
    fn a_file_that_is_of_no_use_is_a_fault_that_repeats_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let long = vec![b'x'; usize::try_from(LONGEST_SECRET).unwrap() + 1];
        let cases = [
            (folder.path().join("missing").to_str().unwrap().to_owned(), "cannot be read"),
            (folder.path().to_str().unwrap().to_owned(), "names something else"),
            ("/dev/null".to_owned(), "names something else"),
            (file(&folder, "empty", b" \n"), "is empty"),
            (file(&folder, "lines", b"redis://a\n/b\n"), "several lines"),
            (file(&folder, "bytes", b"\xff\xfe"), "not UTF-8"),
            (file(&folder, "long", &long), "above 64 KiB"),
        ];
        for (path, says) in cases {
            let found = faults(&variables(&[("REDIS_URL_FILE", &path), ("DATABASE_URL", "mysql://x")]));
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found[0].starts_with("REDIS_URL_FILE ") && found[0].contains(says), "{found:?}");
            assert!(!found[0].contains(&path), "{found:?}");
        }
    }

    #[test]
    fn a_secret_is_not_given_twice_and_only_to_those_who_read_it() {
        let given =
            variables(&[("DATABASE_URL", DATABASE), ("DATABASE_URL_FILE", "/nowhere"), ("REDIS_URL_FILE", "/nowhere")]);

        assert_eq!(faults(&given)[0], "DATABASE_URL_FILE is set beside DATABASE_URL; keep one of the two");
        let migrate = Config::from_variables(Role::Migrate, &given).unwrap_err();
        assert_eq!(migrate.iter().count(), 1, "it needs no Redis: {migrate}");
    }

    #[test]
    fn a_misspelt_file_variable_is_told_with_what_it_may_mean() {
        let config = Config::from_variables(Role::Operator, &variables(&[("ATMOS_API_KEYS_FILE", "/x")])).unwrap();

        assert!(config.warnings[0].contains("did you mean ATMOS_API_KEY_FILE"), "{:?}", config.warnings);
    }

    #[test]
    fn a_process_of_ours_gets_the_same_settings_though_the_files_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "database", DATABASE.as_bytes());
        let given = variables(&[("DATABASE_URL_FILE", &path), ("TASDIQ_LOG", "warn"), ("PATH", "/bin")]);
        let config = Config::from_variables(Role::Operator, &given).unwrap();
        std::fs::remove_file(&path).unwrap();

        let told = Variables::from_line(config.settings.to_line().expose()).unwrap();

        let names: Vec<&OsString> = told.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["DATABASE_URL", "TASDIQ_LOG"]);
        assert_eq!(Config::from_variables(Role::Operator, &told).unwrap().database, config.database);
    }

    #[test]
    fn a_file_of_settings_sets_what_the_environment_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let text = "\u{feff}TASDIQ_LOG=info\n# ours\nDATABASE_URL='postgres://shop:pa$s#@db/shop'\nexport TASDIQ_LOG=warn\n\
                    REDIS_URL=redis://far\nTASDIQ_API_KEYS=a:b\nOTHER=1\nZm9vYmFy==\nTASDIQ_LOGS=1\n";
        let path = file(&folder, ".env", text.as_bytes());

        let environment = variables(&[("REDIS_URL", ""), ("TASDIQ_API_KEYS_FILE", "/run/keys")]);
        let given = environment.with_dotenv(Path::new(&path));

        assert_eq!(given.from_dotenv(), ["TASDIQ_LOG", "DATABASE_URL"]);
        assert_eq!(given.get("DATABASE_URL").as_deref(), Some("postgres://shop:pa$s#@db/shop"));
        assert_eq!(given.get("TASDIQ_LOG").as_deref(), Some("warn"));
        assert_eq!(given.get("REDIS_URL").as_deref(), Some(""), "the environment says that there is none");
        assert_eq!(given.get("TASDIQ_API_KEYS"), None, "the environment has them in a file");
        assert_eq!((given.get("OTHER"), given.get("Zm9vYmFy")), (None, None), "they are not ours");
        assert_eq!(given.get("TASDIQ_LOGS").as_deref(), Some("1"), "a slip is warned of");
        assert!(!format!("{given:?}").contains("warn"), "{given:?}");
    }

    #[test]
    fn lines_that_cannot_be_read_are_one_fault_beside_the_others_and_are_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, ".env", b"TASDIQ_LOG=inf\nthe secret of ours\nDATABASE_URL=mysql://x\nanother one\nREDIS_URL=redis://:pa$s@x\nOTHER=$x\n");

        let found = faults(&variables(&[]).with_dotenv(Path::new(&path)));

        let named: Vec<&str> = found.iter().map(|fault| fault.split(' ').next().unwrap()).collect();
        assert_eq!(named, [".env", "DATABASE_URL", "TASDIQ_LOG"]);
        assert!(found[0].contains("(line 5, 2, 4)"), "{found:?}");
        assert!(!found[0].contains("of ours"), "{found:?}");
        assert_eq!(faults(&variables(&[]).with_dotenv(folder.path())), [""; 0], "a folder is none");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        let dangling = faults(&variables(&[]).with_dotenv(&link));
        assert!(dangling[0].starts_with(".env is there"), "a mount that is late: {dangling:?}");
    }
}
