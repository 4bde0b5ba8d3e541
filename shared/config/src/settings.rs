//! The struct of one component's settings.

use super::definition::Definition;
use super::environment::Environment;

/// The settings of one component; [`settings!`](crate::settings) makes such a struct.
pub trait Settings: Sized {
    /// Its settings, in the order of the fields.
    const DEFINITIONS: &'static [Definition];

    /// Reads them. A value that cannot be read becomes a fault of `env`, and its default takes its place, so that the rest is
    /// read and checked, too. `None` means that a default cannot be read, which is a fault of `env` as well.
    fn read(env: &mut Environment<'_>) -> Option<Self>;
}

/// The settings of a component where no variable is set.
pub fn defaults<S: Settings>() -> Option<S> {
    S::read(&mut Environment::new(&|_| None))
}

/// Makes the struct of a component's settings, which are read from variables.
///
/// Each field says in `#[env(…)]`: the variable, the default (`none` makes an `Option`), `shown` where the default needs
/// words, the check, which turns the text into the value or says what is wrong with it, and `secret` where the value is one.
/// The test below has an example.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $settings:ident {
            $(
                $(#[doc = $doc:literal])+
                #[env(
                    $name:literal,
                    default = $default:tt $(,
                    shown = $shown:literal)?,
                    check = $check:expr $(, $secret:ident)?
                )]
                $field_visibility:vis $field:ident: $type:ty,
            )+
        }
    ) => {
        $(#[$meta])*
        $visibility struct $settings {
            $($(#[doc = $doc])+ $field_visibility $field: $type,)+
        }

        impl $crate::Settings for $settings {
            const DEFINITIONS: &'static [$crate::Definition] = &[$($crate::Definition {
                name: $name,
                doc: concat!($($doc, "\n"),+),
                default: $crate::settings!(@text $default),
                shown: $crate::settings!(@shown $($shown)?),
                is_secret: $crate::settings!(@is_secret $($secret)?),
            },)+];

            fn read(env: &mut $crate::Environment<'_>) -> Option<Self> {
                let mut definitions = Self::DEFINITIONS.iter();
                $(let $field = $crate::settings!(@read $default, env, definitions.next()?, $check);)+
                Some($settings { $($field: $field?),+ })
            }
        }
    };
    (@text none) => { None };
    (@text $default:literal) => { Some($default) };
    (@shown) => { None };
    (@shown $shown:literal) => { Some($shown) };
    (@is_secret) => { false };
    (@is_secret secret) => { true };
    (@read none, $env:ident, $definition:expr, $check:expr) => { Some($env.optional($definition, $check)) };
    (@read $default:literal, $env:ident, $definition:expr, $check:expr) => { $env.value($definition, $check) };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::values;
    use domain::secret::Secret;

    crate::settings! {
        /// How tea is made.
        #[derive(Debug)]
        struct TeaSettings {
            /// For how long it draws,
            /// in seconds; 1 to 600.
            #[env("TEA_SECONDS", default = "180", check = values::seconds(1..=600))]
            draws_for: Duration,

            /// Opens the tin.
            #[env(
                "TEA_KEY",
                default = none,
                shown = "the tin stays shut",
                check = |text| Ok::<_, String>(Secret::new(text)), secret
            )]
            key: Option<Secret>,
        }
    }

    fn read(variables: &[(&str, &str)]) -> (Option<TeaSettings>, Vec<String>) {
        let get = |name: &str| Some(variables.iter().find(|(given, _)| *given == name)?.1.to_owned());
        let mut env = Environment::new(&get);
        let settings = TeaSettings::read(&mut env);
        let faults = env.finish().err().into_iter().flat_map(|faults| faults.iter().cloned().collect::<Vec<_>>());
        (settings, faults.map(|fault| fault.to_string()).collect())
    }

    #[test]
    fn a_field_says_all_there_is_to_say_of_a_setting() {
        let [draws_for, key] = TeaSettings::DEFINITIONS else { panic!("two settings") };

        assert_eq!((draws_for.name, draws_for.shown_default().as_str()), ("TEA_SECONDS", "`180`"));
        assert_eq!(draws_for.meaning(), "For how long it draws, in seconds; 1 to 600.");
        assert_eq!(key.shown_default(), "the tin stays shut");
        assert_eq!((draws_for.is_secret, key.is_secret), (false, true));
    }

    #[test]
    fn what_is_set_is_read_and_the_rest_has_its_default() {
        let settings = read(&[("TEA_SECONDS", " 60\n"), ("TEA_KEY", "tin")]).0.unwrap();
        assert_eq!((settings.draws_for, settings.key), (Duration::from_secs(60), Some(Secret::new("tin"))));

        let settings = defaults::<TeaSettings>().unwrap();
        assert_eq!((settings.draws_for, settings.key), (Duration::from_secs(180), None));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_a_fault_and_the_rest_is_read_all_the_same() {
        let (settings, faults) = read(&[("TEA_SECONDS", "601"), ("TEA_KEY", "'tin'")]);

        assert_eq!(settings.unwrap().draws_for, Duration::from_secs(180));
        assert_eq!(
            faults,
            [
                "TEA_SECONDS is not a whole number from 1 to 600; without the variable it is 180",
                "TEA_KEY stands in quotes, which are part of the value; take them away"
            ]
        );
    }
}
