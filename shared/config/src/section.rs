//! One table of a file, read as the variables of the components whose settings it may have.

use domain::secret::Secret;

use super::definition::Definition;
use super::environment::Environment;
use super::fault::ConfigFault;
use super::toml_file::{Entry, Place, Table, TomlValue, unknown};

/// The key of a file for this variable: its name in small letters, without `TASDIQ_` at its beginning.
pub fn key_of(variable: &str) -> String {
    variable.strip_prefix("TASDIQ_").unwrap_or(variable).to_ascii_lowercase()
}

/// One table, as variables.
#[derive(Debug)]
pub struct Section {
    place: Place,
    definitions: Vec<&'static Definition>,
    given: Vec<Given>,
    faults: Vec<ConfigFault>,
}

/// A key that stands in the table.
#[derive(Debug)]
struct Given {
    variable: &'static str,
    line: usize,
    /// Nothing where the value has a fault.
    value: Option<Secret>,
}

impl Section {
    /// The keys of `table` are these settings. `tables` may stand in it, too, and are left alone. The value of a setting
    /// that is not read is not looked at.
    pub fn new(
        table: &Table,
        definitions: Vec<&'static Definition>,
        tables: &[&str],
        is_read: impl Fn(&str) -> bool,
    ) -> Self {
        let keys: Vec<String> = definitions.iter().map(|definition| key_of(definition.name)).collect();
        let known: Vec<&str> = keys.iter().map(String::as_str).chain(tables.iter().copied()).collect();
        let (mut given, mut faults) = (Vec::new(), Vec::new());
        for Entry { key, line, value } in &table.entries {
            let place = table.place.of_key(key, *line);
            let definition = keys.iter().position(|known| known == key).and_then(|place| definitions.get(place));
            match definition {
                Some(definition) if is_read(definition.name) => {
                    let text = value.text(definition.is_secret, &table.place.folder);
                    let value = text.map_err(|what| faults.push(place.fault(what))).ok();
                    given.push(Given { variable: definition.name, line: *line, value });
                }
                Some(_) => (),
                None if !tables.contains(&key.as_str()) => faults.push(place.fault(unknown(key, &known))),
                None => match value {
                    TomlValue::Table(_) => (),
                    TomlValue::Text(_) | TomlValue::List(_) | TomlValue::Other(_) => {
                        faults.push(place.fault("is no table"));
                    }
                },
            }
        }
        Section { place: table.place.clone(), definitions, given, faults }
    }

    /// Reads the settings with `read`, which finds them as variables. Answers its result and the warnings; faults that it
    /// finds are told with the places of the keys.
    ///
    /// # Errors
    /// All faults of the table.
    pub fn read<T>(
        mut self,
        read: impl FnOnce(&mut Environment<'_>) -> Option<T>,
    ) -> Result<(T, Vec<String>), Vec<ConfigFault>> {
        let get = |name: &str| {
            let given = self.given.iter().find(|given| given.variable == name)?;
            given.value.as_ref().map(|value| value.expose().to_owned())
        };
        let mut env = Environment::new(&get);
        // A value with a fault is not missing as well.
        for given in self.given.iter().filter(|given| given.value.is_none()) {
            env.fault(given.variable, TOLD);
        }
        let settings = read(&mut env);
        let found = env.finish();
        let warnings = found.as_ref().map(|warnings| warnings.iter().map(|text| self.warning(text)).collect());
        let told = found.as_ref().err().into_iter().flat_map(|faults| faults.iter());
        let placed: Vec<ConfigFault> =
            told.filter(|fault| fault.what != TOLD).map(|fault| self.placed(fault)).collect();
        self.faults.extend(placed);
        match settings {
            Some(settings) if self.faults.is_empty() => Ok((settings, warnings.unwrap_or_default())),
            Some(_) | None => Err(self.faults),
        }
    }

    fn warning(&self, sentence: &str) -> String {
        format!("{}, {}: {}", self.place.file, self.place.path, self.in_keys(sentence))
    }

    /// The fault of a variable as one of its key, or of the table where the key is missing.
    fn placed(&self, fault: &ConfigFault) -> ConfigFault {
        let line = self.given.iter().find(|given| given.variable == fault.variable).map(|given| given.line);
        let place = self.place.of_key(&key_of(&fault.variable), line.unwrap_or(self.place.line));
        place.fault(self.in_keys(&fault.what))
    }

    /// A sentence with keys where it names variables.
    fn in_keys(&self, sentence: &str) -> String {
        let mut names: Vec<&str> = self.definitions.iter().map(|definition| definition.name).collect();
        // The name that another one begins with comes after it.
        names.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
        names.into_iter().fold(sentence.to_owned(), |text, name| text.replace(name, &key_of(name)))
    }
}

/// Stands for a fault that is told with its place already.
const TOLD: &str = "is told already";
