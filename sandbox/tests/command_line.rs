//! What docs/scenarios.md says of the command line, as far as nothing needs to be started for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, process::Command};

/// Runs it with these arguments; returns whether it ended well, and what it said.
fn sandbox(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mechanic-sandbox")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_random_script_is_the_same_for_the_same_number_and_can_be_changed_and_checked_as_a_file() {
    let drawn = |seed| sandbox(&["--random", seed, "--for", "1h", "--print"]);
    let (good, script, said) = drawn("7");
    assert!(good && script.contains("pools:"), "{said}");
    assert_eq!(drawn("7").1, script);
    assert_ne!(drawn("8").1, script);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my-afternoon.yaml");
    fs::write(&file, format!("{script}\nnonsense: 1\n")).unwrap();
    let (good, _, said) = sandbox(&["--scenario", file.to_str().unwrap()]);
    let line = format!("line {}", script.lines().count() + 2);
    assert!(!good && said.contains("nonsense") && said.contains(&line), "{line}: {said}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_started() {
    for (arguments, part) in [
        (["--scenario", "no-such-scenario"], "no-such-scenario"),
        (["--random", "many"], "many"),
        (["--speed", "0"], "0"),
        (["--speed", "-1"], "-1"),
    ] {
        let (good, _, said) = sandbox(&arguments);
        assert!(!good && said.contains(part), "{arguments:?}: {said}");
    }
}
