//! The directory of the embedded parts: made, proved writable, and held by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use config::{ConfigFaults, Variables};
use domain::time::rfc3339;
use telemetry::causes;

use crate::config::{Config, Role};
use crate::exit::Exit;

pub(crate) mod settings;

/// A data directory that belongs to this process until this value is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: Lock,
}

impl DataDir {
    /// Makes the directory if need be and takes its lock for `command`.
    ///
    /// # Errors
    /// A configuration fault when it may not be written, or when another process holds it: then it says who.
    /// [`Exit::Unavailable`] while its disk is full.
    pub(crate) fn open(path: &Path, command: &str) -> Result<Self, Exit> {
        // The files are about money, so no other user may read them.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
            let what = format!(
                "cannot make the data directory {} ({error}); set TASDIQ_DATA_DIR to a directory that this user may \
                 write",
                path.display()
            );
            unwritable(&error, what)
        })?;
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let lock = Lock::take(&path.join("tasdiq.lock"), &path, command, "TASDIQ_DATA_DIR")?;
        Ok(DataDir { path, _lock: lock })
    }

    /// Its full path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The endings of the files of an SQLite database that is open.
const BESIDE_DATABASE: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Makes the file of a database if there is none, and lets only its user read it: it holds the tokens that open orders. SQLite
/// gives the same rights to its other files.
///
/// If this fails, the database reports it, or `doctor` does.
pub(crate) fn close_database_to_others(file: &Path) {
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    for path in files_of_database(file) {
        if is_open_to_others(&path) {
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
        }
    }
}

/// The file of a database and those that lie beside it.
pub(crate) fn files_of_database(file: &Path) -> impl Iterator<Item = PathBuf> {
    BESIDE_DATABASE.iter().map(move |suffix| {
        let mut path = file.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    })
}

/// Whether other users have any right to a file or directory; a file that does not exist is not open to them.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Adds the fault of the data directory, if any, to the faults of the environment, so that all are reported at once.
pub(crate) fn with_its_fault(mut faults: ConfigFaults, role: Role, variables: &Variables) -> ConfigFaults {
    const NAME: &str = "TASDIQ_DATA_DIR";
    // A file of settings that cannot be read may name the directory.
    let is_known = |variable: &str| ![NAME, ".env", "TASDIQ_ENV_FILE"].contains(&variable);
    let is_opened = matches!(role, Role::Up | Role::Sandbox) && faults.iter().all(|fault| is_known(&fault.variable));
    // The sandbox's variables are few, and without the faulty ones nothing keeps them from being read.
    let sound = Config::from_variables(Role::Sandbox, &variables.without(&faults));
    if let (true, Ok(config)) = (is_opened, sound)
        && let Err(Exit::Configuration(error)) = DataDir::open(&config.data_dir.path, role.command())
    {
        faults.add(NAME, format!("is of no use: {}", causes(error.as_ref())));
    }
    faults
}

/// A lock file that names its holder. The system releases the lock when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file `file`, which guards `what`; the setting `variable` names another place.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub(crate) fn take(file: &Path, what: &Path, command: &str, variable: &str) -> Result<Self, Exit> {
        let cannot_write = |error: std::io::Error| {
            let what = format!(
                "cannot write {} ({error}); make it writable for this user, or set {variable} to another place",
                file.display()
            );
            unwritable(&error, what)
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(file).map_err(cannot_write)?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The name of the holder only helps the reader, so an error here does not matter.
                let _ = lock.take(500).read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(Exit::configuration(format!(
                    "{} is in use by {holder}; stop that process, or set {variable} to another place",
                    what.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(cannot_write(error)),
        }
        let started = rfc3339(store::clock::Clock::host().now_ms());
        let holder = format!("{command} (process {}, since {started})\n", std::process::id());
        match lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(holder.as_bytes())) {
            // The lock is held without its text, and callbacks must be answered once there is room.
            Err(error) if !is_out_of_room(&error) => Err(cannot_write(error)),
            Ok(()) | Err(_) => Ok(Lock { _file: lock }),
        }
    }
}

/// A full disk may have room later; a missing right must be corrected by a person.
fn unwritable(error: &std::io::Error, what: String) -> Exit {
    match is_out_of_room(error) {
        true => Exit::Unavailable(anyhow::anyhow!(what)),
        false => Exit::configuration(what),
    }
}

/// Whether a disk or a quota is full.
pub(crate) fn is_out_of_room(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_holds_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        let held = DataDir::open(&path, "tasdiq up").unwrap();

        let refused = DataDir::open(&path, "tasdiq sandbox").unwrap_err();

        let Exit::Configuration(error) = refused else { panic!("{refused:?}") };
        let message = error.to_string();
        assert!(message.contains(&format!("tasdiq up (process {}", std::process::id())), "{message}");
        drop(held);
        DataDir::open(&path, "tasdiq sandbox").unwrap();
    }

    #[test]
    fn an_unwritable_directory_is_told_together_with_the_faults_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let pairs = [("TASDIQ_DATA_DIR", file.to_str().unwrap()), ("TASDIQ_LOG", "inf"), ("DATABASE_URL", "mysql://x")];
        let variables: Variables = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let told = |role: Role| {
            let faults = Config::from_variables(role, &variables).unwrap_err();
            with_its_fault(faults, role, &variables).to_string()
        };

        assert!(told(Role::Up).contains("\n  3. TASDIQ_DATA_DIR is of no use: cannot"), "{}", told(Role::Up));
        assert!(told(Role::Sandbox).contains("\n  2. TASDIQ_DATA_DIR"), "{}", told(Role::Sandbox));
        assert!(!told(Role::Api).contains("TASDIQ_DATA_DIR"), "other roles do not open it");
    }

    #[test]
    fn a_full_disk_is_no_fault_of_the_configuration() {
        for (kind, code) in [
            (std::io::ErrorKind::StorageFull, 69),
            (std::io::ErrorKind::QuotaExceeded, 69),
            (std::io::ErrorKind::PermissionDenied, 78),
            (std::io::ErrorKind::ReadOnlyFilesystem, 78),
        ] {
            assert_eq!(unwritable(&kind.into(), "x".to_owned()).code(), code, "{kind}");
        }
    }

    #[test]
    fn only_its_user_may_read_a_directory_we_made() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(&folder.path().join("data"), "tasdiq up").unwrap();

        let mode = fs::metadata(data_dir.path()).unwrap().permissions().mode();

        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_database_is_read_by_its_user_alone_also_one_that_was_open_before() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let fresh = folder.path().join("fresh.db");
        let [older, log] = ["older.db", "older.db-wal"].map(|name| folder.path().join(name));
        for path in [&older, &log] {
            fs::write(path, "kept").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }

        close_database_to_others(&fresh);
        close_database_to_others(&older);

        assert_eq!([&fresh, &older, &log].map(|path| mode(path)), [0o600; 3]);
        assert_eq!(fs::read_to_string(&older).unwrap(), "kept");
        close_database_to_others(&folder.path().join("nowhere/x.db")); // told by the database
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_a_configuration_fault() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();

        for path in [file.clone(), file.join("below")] {
            assert!(matches!(DataDir::open(&path, "tasdiq up"), Err(Exit::Configuration(_))), "{}", path.display());
        }
    }
}
