//! All settings of a program, by their names.

use super::definition::Definition;

/// The definitions of all components.
#[derive(Clone, Copy, Debug)]
pub struct Contract(pub &'static [&'static [Definition]]);

/// The end of the name of the variable that names a secret's file.
pub(super) const FILE: &str = "_FILE";

impl Contract {
    /// All settings, component by component. A setting of two components comes once.
    pub fn definitions(&self) -> Vec<&'static Definition> {
        let mut definitions: Vec<&Definition> = Vec::new();
        for definition in self.0.iter().copied().flatten() {
            if definitions.iter().all(|known| known.name != definition.name) {
                definitions.push(definition);
            }
        }
        definitions
    }

    /// The secrets' names. Each secret may be in a file instead, as container platforms provide it; the variable with `_FILE`
    /// at the end of its name has the path.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &'static str> {
        self.definitions().into_iter().filter(|definition| definition.is_secret).map(|definition| definition.name)
    }

    /// The secret whose file the variable names, if it is such a variable.
    pub fn secret_of(&self, name: &str) -> Option<&'static str> {
        let secret = name.strip_suffix(FILE)?;
        self.secrets().find(|known| *known == secret)
    }

    /// The setting that this name sets, by its value or by a file.
    pub fn known(&self, name: &str) -> Option<&'static str> {
        let names = self.0.iter().copied().flatten().map(|definition| definition.name);
        names.into_iter().find(|known| *known == name).or_else(|| self.secret_of(name))
    }

    /// The warning about a variable that is none of ours and looks like one.
    pub fn warning(&self, name: &str) -> Option<String> {
        if self.known(name).is_some() || !looks_like_ours(name) || is_kubernetes_service(name) {
            return None;
        }
        Some(match self.near_names(name).as_slice() {
            [] => format!("the variable {name} is set, and nothing reads it"),
            near => format!("the variable {name} is set, and nothing reads it; did you mean {}?", near.join(" or ")),
        })
    }

    fn near_names(&self, name: &str) -> Vec<String> {
        let names = self.definitions().into_iter().map(|definition| definition.name.to_owned());
        let mut near: Vec<(usize, String)> = names
            .chain(self.secrets().map(|name| format!("{name}{FILE}")))
            .map(|known| (strsim::levenshtein(name, &known), known))
            // The beginning of a name, such as `ATMOS_CHECKOUT`, is as clear as a name with a typing error.
            .filter(|(edits, known)| {
                *edits <= NEAR || known.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'))
            })
            .collect();
        near.sort_unstable();
        near.into_iter().map(|(_, known)| known).take(2).collect()
    }
}

/// The most typing errors in a name for which the right one is suggested.
pub(super) const NEAR: usize = 3;

/// Whether a name begins as ours do.
pub(super) fn looks_like_ours(name: &str) -> bool {
    ["TASDIQ_", "ATMOS_", "PAYME_", "CLICK_"].iter().any(|beginning| name.starts_with(beginning))
}

/// Kubernetes sets such names in every pod of a namespace with a service called `tasdiq-…`.
fn is_kubernetes_service(name: &str) -> bool {
    name.contains("_SERVICE_") || name.contains("_PORT_") || name.ends_with("_PORT")
}
