//! `tasdiq sandbox check`: a merchant's endpoint against a gateway's own test course.

use crate::arguments::CheckCommand;
use crate::exit::Exit;

/// Runs the test course and prints its list.
///
/// # Errors
/// A line of the list is red.
pub(crate) async fn run(command: CheckCommand) -> Result<(), Exit> {
    match command {
        CheckCommand::Payme(_) => Err(Exit::failed("the sandbox does not know Payme's scenarios yet")),
        CheckCommand::Click(_) => Err(Exit::failed("the sandbox does not know Click's cases yet")),
    }
}
