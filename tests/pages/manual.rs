//! The output of `tasdiq completions` and `tasdiq man`, as a shell and `man` read it.

use std::process::Command;

use crate::support::command::run;

/// The output of a script in bash.
fn bash(script: &str) -> String {
    let ended = Command::new("bash").args(["--norc", "-euo", "pipefail", "-c", script]).output().unwrap();
    assert!(ended.status.success(), "{script}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

#[tokio::test]
async fn bash_completes_the_words_of_a_command() {
    let script = run(&["completions", "bash"], &[]).await.said;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasdiq.bash");
    std::fs::write(&file, script).unwrap();
    let file = file.display();

    for (words, place, expected) in [
        ("tasdiq orders re", 2, "reconcile refund resolve review"),
        ("tasdiq doc", 1, "doctor"),
        ("tasdiq callbacks list --ver", 3, "--verdict"),
    ] {
        let last = words.split(' ').next_back().unwrap();
        let before = words.split(' ').nth(place - 1).unwrap();
        let offered = bash(&format!(
            "source {file}; COMP_WORDS=({words}); COMP_CWORD={place}; _tasdiq tasdiq {last} {before}; \
             echo \"${{COMPREPLY[*]}}\""
        ));

        let mut offered: Vec<&str> = offered.split_whitespace().collect();
        offered.sort_unstable();
        assert_eq!(offered.join(" "), expected, "{words}");
    }
}

#[tokio::test]
async fn every_shell_has_completions_of_all_commands_that_help_shows() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&["completions", shell], &[]).await.said;

        assert!(script.contains("reconcile"), "{shell}: {script}");
        for hidden in ["weather", "suspects"] {
            assert!(!script.contains(hidden), "{shell} offers {hidden}");
        }
    }
}

/// The requests of `man` that our pages are made of.
const REQUESTS: [&str; 11] = ["TH", "SH", "SS", "TP", "PP", "IP", "RS", "RE", "br", "ie", "el"];

/// Faults that groff would warn of: an unknown request or escape.
fn faults_of(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for line in page.lines() {
        let request = line.strip_prefix(['.', '\'']).and_then(|rest| rest.split_whitespace().next());
        if request.is_some_and(|request| !REQUESTS.contains(&request)) {
            faults.push(format!("request: {line}"));
        }
        for escape in line.split('\\').skip(1).map(|rest| rest.chars().next().unwrap_or(' ')) {
            if !['f', '-', '&', '(', '*', 'n', ' '].contains(&escape) {
                faults.push(format!("escape {escape}: {line}"));
            }
        }
    }
    faults
}

#[tokio::test]
async fn each_command_has_a_man_page_without_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");

    assert_eq!(run(&["man", pages.to_str().unwrap()], &[]).await.code, Some(0));

    let mut names = Vec::new();
    for entry in std::fs::read_dir(&pages).unwrap() {
        let path = entry.unwrap().path();
        let page = std::fs::read_to_string(&path).unwrap();
        assert_eq!(faults_of(&page), [""; 0], "{}", path.display());
        assert!(page.contains("\n.SH DESCRIPTION\n"), "{page}");
        // A second opinion, where it is there.
        if let Ok(ended) = Command::new("groff").args(["-man", "-ww", "-K", "utf8", "-T", "utf8"]).arg(&path).output() {
            assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{}", path.display());
        }
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    for name in ["tasdiq.1", "tasdiq-up.1", "tasdiq-orders.1", "tasdiq-orders-resolve.1", "tasdiq-completions.1"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    assert!(names.iter().all(|name| !name.contains("suspects")), "{names:?}");
}

#[tokio::test]
async fn without_a_folder_the_page_of_the_program_is_printed() {
    let page = run(&["man"], &[]).await.said;

    assert_eq!(faults_of(&page), [""; 0]);
    assert!(page.contains("Exit codes"), "{page}");
}

#[test]
fn a_page_with_a_fault_is_seen() {
    assert_eq!(faults_of(".XX a\n.SH NAME\na \\q b").len(), 2);
}
