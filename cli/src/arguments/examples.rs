//! The text below each command's help: examples, and its exit codes.

/// The examples of a command. A test reads each with the real definition.
macro_rules! examples {
    ($($example:literal),+ $(; exits $exits:literal)? $(,)?) => {
        concat!("Examples:", $("\n  ", $example,)+ $("\n\nExit codes: ", $exits, " All codes: `tasdiq --help`.")?)
    };
}
pub(super) use examples;
