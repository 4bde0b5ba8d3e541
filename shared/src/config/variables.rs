//! Where settings stand: the environment, a file `.env` in the working directory, and files with one secret each.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Role;
use super::fault::{ConfigFault, ConfigFaults};

/// Variables that hold a secret. Each may stand in a file instead, whose path is in the variable of that name with `_FILE`
/// behind it, as container platforms hand out secrets.
const SECRETS: [&str; 7] = [
    "ATMOS_API_KEY",
    "ATMOS_CONSUMER_KEY",
    "ATMOS_CONSUMER_SECRET",
    "ATMOS_PROXY_URL",
    "DATABASE_URL",
    "REDIS_URL",
    "TASDIQ_API_KEYS",
];

const FILE: &str = "_FILE";

/// More than any secret has. Another file was named by mistake then.
const LONGEST_SECRET: u64 = 64 * 1024;

/// The file of settings in the working directory.
const DOTENV: &str = ".env";

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
    /// The environment of this process, and what a file `.env` in its working directory sets besides. A variable that is
    /// in the environment, be it empty, is not taken from the file.
    pub fn of_this_process() -> Self {
        std::env::vars_os().collect::<Variables>().with_dotenv(Path::new(DOTENV))
    }

    fn with_dotenv(mut self, path: &Path) -> Self {
        let fault = |what: String| ConfigFault { variable: DOTENV.to_owned(), what };
        // A folder of that name is somebody else's.
        if !path.is_file() {
            return self;
        }
        let lines = match dotenvy::from_path_iter(path) {
            Ok(lines) => lines,
            Err(dotenvy::Error::Io(error)) => {
                self.faults.push(fault(format!("cannot be read ({error}); mend or remove the file")));
                return self;
            }
            Err(_) => return self,
        };
        for line in lines {
            match line {
                Ok((name, value)) => {
                    let is_given = self.given.iter().any(|(given, _)| *given == *name);
                    if !is_given {
                        self.given.push((name.clone().into(), value.into()));
                        self.from_dotenv.push(name);
                    }
                }
                // Its own words repeat the line, which may hold a secret.
                Err(_) => {
                    self.faults.push(fault(
                        "in the working directory has a line that is not NAME=value, or that is not UTF-8 text; mend the line, \
                         and put a value with blanks, quotes, # or $ in single quotes"
                            .to_owned(),
                    ));
                    return self;
                }
            }
        }
        self
    }

    /// The names that were taken from `.env`, in its order.
    pub fn from_dotenv(&self) -> &[String] {
        &self.from_dotenv
    }

    /// Without those that have a fault, and without the faults.
    #[must_use]
    pub fn without(&self, faults: &ConfigFaults) -> Self {
        let is_sound = |name: &OsString| !faults.iter().any(|fault| name == fault.variable.as_str());
        self.only(is_sound)
    }

    /// Those whose name is kept, without faults.
    #[must_use]
    pub fn only(&self, keeps: impl Fn(&OsString) -> bool) -> Self {
        let given = self.given.iter().filter(|(name, _)| keeps(name)).cloned().collect();
        Variables { given, from_dotenv: self.from_dotenv.clone(), faults: Vec::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(OsString, OsString)> {
        self.given.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.given.iter().find(|(given, _)| given == name)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// With the secrets that stand in files; `reads` says whether the role uses a variable. Gives what is wrong with the
    /// files, too.
    pub(super) fn opened(&self, role: Role, reads: impl Fn(Role, &str) -> bool) -> (Self, Vec<ConfigFault>) {
        let mut opened = self.clone();
        let mut faults = std::mem::take(&mut opened.faults);
        for name in SECRETS.into_iter().filter(|name| reads(role, name)) {
            let variable = format!("{name}{FILE}");
            let is_set = |name: &str| self.get(name).is_some_and(|value| !value.trim().is_empty());
            let Some(path) = self.get(&variable).filter(|path| !path.trim().is_empty()) else { continue };
            let what = if is_set(name) {
                Err(format!("is set beside {name}; keep one of the two"))
            } else {
                read_secret(Path::new(path.trim()))
            };
            match what {
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

/// What such a file holds. No complaint repeats the path, which may be the secret itself.
fn read_secret(path: &Path) -> Result<String, String> {
    let unreadable =
        |error: io::Error| format!("must name a file with the secret, and that file cannot be read ({error})");
    let file = File::open(path).map_err(unreadable)?;
    let mut secret = String::new();
    let read = file.take(LONGEST_SECRET + 1).read_to_string(&mut secret);
    match read {
        Ok(read) if read as u64 > LONGEST_SECRET => Err("names a file above 64 KiB, which is no secret".to_owned()),
        Ok(_) if secret.trim().is_empty() => Err("names a file that is empty".to_owned()),
        Ok(_) => Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err("names a file that is not UTF-8 text".to_owned())
        }
        Err(error) => Err(unreadable(error)),
    }
}

/// Whether the variable names the file of a secret, and of which one.
pub(super) fn secret_of(name: &str) -> Option<&'static str> {
    let secret = name.strip_suffix(FILE)?;
    SECRETS.into_iter().find(|known| *known == secret)
}

/// The names of such variables.
pub(super) fn file_variables() -> impl Iterator<Item = String> {
    SECRETS.into_iter().map(|name| format!("{name}{FILE}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, DatabaseUrl};
    use super::*;
    use crate::secret::Secret;

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
        let path = file(&folder, "database", format!("{DATABASE}\n").as_bytes());
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
            (folder.path().to_str().unwrap().to_owned(), "cannot be read"),
            (file(&folder, "empty", b" \n"), "is empty"),
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
    fn a_file_in_the_working_directory_sets_what_the_environment_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let text = "# ours\nDATABASE_URL='postgres://shop:pa$s#@db/shop'\nexport TASDIQ_LOG=warn\nREDIS_URL=redis://far\nOTHER=1\n";
        let path = file(&folder, ".env", text.as_bytes());

        let given = variables(&[("REDIS_URL", "redis://near")]).with_dotenv(Path::new(&path));

        assert_eq!(given.from_dotenv(), ["DATABASE_URL", "TASDIQ_LOG", "OTHER"]);
        assert_eq!(given.get("DATABASE_URL").as_deref(), Some("postgres://shop:pa$s#@db/shop"));
        assert_eq!(given.get("REDIS_URL").as_deref(), Some("redis://near"));
        assert!(!format!("{given:?}").contains("redis://"), "{given:?}");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_one_fault_beside_the_others_and_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, ".env", b"TASDIQ_LOG=inf\nthe secret of ours\n");

        let found = faults(&variables(&[("DATABASE_URL", "mysql://x")]).with_dotenv(Path::new(&path)));

        let starts: Vec<&str> = found.iter().map(|fault| fault.split(' ').next().unwrap()).collect();
        assert_eq!(starts, [".env", "DATABASE_URL", "TASDIQ_LOG"]);
        assert!(!found[0].contains("of ours"), "{found:?}");
        assert_eq!(faults(&variables(&[]).with_dotenv(folder.path())), [""; 0], "a folder is none");
    }
}
