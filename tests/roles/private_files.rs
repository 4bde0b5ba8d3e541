//! The files in the data directory hold orders' tokens and customers' addresses. Only their user may read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::role::id;
use crate::support::up::Up;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn files_in_a_directory_that_was_there_before_are_their_users_alone() {
    let data_dir = tempfile::Builder::new().prefix("data.").tempdir().unwrap();
    let folder = data_dir.path().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();

    let up = Up::start_in(data_dir, &[]).await;
    let order = id(&up.api.create_order().await);
    up.api.wait_for_link(order).await;

    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in ["tasdiq.db", "tasdiq.db-wal", "tasdiq.db-shm", "tasdiq.db.lock", "tasdiq.lock", "sandbox-ledger.jsonl"]
    {
        assert!(files.contains(&folder.join(name)), "{name}: {files:?}");
    }
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    let doctor = up.command(&["doctor"]).await;
    assert!(doctor.contains(&format!("`chmod go= {}`", folder.display())), "{doctor}");
}
