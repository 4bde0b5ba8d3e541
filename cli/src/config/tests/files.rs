//! The sources of settings: the environment, a file `.env`, and files with one secret each.

use std::path::Path;

use domain::secret::Secret;

use super::*;

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

    assert_eq!(config.database.url, DatabaseUrl::Postgres(Secret::new(DATABASE)));
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn a_file_that_is_of_no_use_is_a_fault_that_repeats_no_path() {
    let folder = tempfile::tempdir().unwrap();
    let long = vec![b'x'; 64 * 1024 + 1];
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
fn a_secret_whose_file_cannot_be_read_is_not_missing_besides() {
    let given = variables(&[
        ("ATMOS_CONSUMER_KEY", "key"),
        ("ATMOS_CONSUMER_SECRET_FILE", "/nowhere"),
        ("ATMOS_STORE_ID", "1"),
        ("ATMOS_API_KEY", "a-key-of-its-own"),
        ("TASDIQ_API_KEYS_FILE", "/nowhere"),
    ]);

    let found = Config::from_variables(Role::Api, &given).unwrap_err();

    let variables: Vec<&str> = found.iter().map(|fault| fault.variable.as_str()).collect();
    assert_eq!(variables, ["ATMOS_CONSUMER_SECRET_FILE", "TASDIQ_API_KEYS_FILE", "DATABASE_URL", "REDIS_URL"]);
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

    let told = Variables::from_line(config.variables.to_line().expose()).unwrap();

    let names: Vec<&OsString> = told.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["DATABASE_URL", "TASDIQ_LOG"]);
    assert_eq!(Config::from_variables(Role::Operator, &told).unwrap().database.url, config.database.url);
}

#[test]
fn a_file_of_settings_sets_what_the_environment_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\u{feff}TASDIQ_LOG=info\n# ours\nDATABASE_URL='postgres://shop:pa$s#@db/shop'\nexport TASDIQ_LOG=warn\n\
                REDIS_URL=redis://far\nTASDIQ_API_KEYS=a:b\nOTHER=1\nZm9vYmFy==\nTASDIQ_LOGS=1\n";
    let path = file(&folder, ".env", text.as_bytes());

    let environment = variables(&[("REDIS_URL", ""), ("TASDIQ_API_KEYS_FILE", "/run/keys")]);
    let given = environment.with_dotenv(&CONTRACT, Path::new(&path));

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

    let found = faults(&variables(&[]).with_dotenv(&CONTRACT, Path::new(&path)));

    let named: Vec<&str> = found.iter().map(|fault| fault.split(' ').next().unwrap()).collect();
    assert_eq!(named, [".env", "DATABASE_URL", "TASDIQ_LOG"]);
    assert!(found[0].contains("(line 5, 2, 4)"), "{found:?}");
    assert!(!found[0].contains("of ours"), "{found:?}");
    assert_eq!(faults(&variables(&[]).with_dotenv(&CONTRACT, folder.path())), [""; 0], "a folder is none");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();
    let dangling = faults(&variables(&[]).with_dotenv(&CONTRACT, &link));
    assert!(dangling[0].starts_with(".env is there"), "a mount that is late: {dangling:?}");
}
