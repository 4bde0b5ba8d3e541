//! `tasdiq completions` and `tasdiq man`: what a shell and `man` know of the command line.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::arguments;
use crate::exit::Exit;
use crate::output::print;

/// Prints the completions for a shell.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn completions(shell: Shell) -> Result<(), Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut arguments::command(), "tasdiq", &mut script);
    Ok(print(String::from_utf8_lossy(&script).trim_end())?)
}

/// Prints the page of `tasdiq` itself, or writes that of each command into the folder.
///
/// # Errors
/// Standard output or the folder cannot be written.
pub(crate) fn pages(folder: Option<&Path>) -> Result<(), Exit> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        Man::new(arguments::command()).render(&mut page).context("cannot write the page")?;
        return Ok(print(String::from_utf8_lossy(&page).trim_end())?);
    };
    let write = || {
        fs::create_dir_all(folder)?;
        clap_mangen::generate_to(arguments::command(), folder)
    };
    Ok(write().with_context(|| format!("cannot write the pages into {}", folder.display()))?)
}
