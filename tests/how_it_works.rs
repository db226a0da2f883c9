//! docs/how-it-works.md: the files that it names are there.

use std::path::Path;

use mechanic_sandbox::programs::workspace;

fn is_there(folder: &Path, suffix: &str) -> bool {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().any(|path| {
        let is_source = !path.ends_with("target") && !path.ends_with(".git");
        if path.is_dir() { is_source && is_there(&path, suffix) } else { path.ends_with(suffix) }
    })
}

#[test]
fn each_file_that_is_named_is_there() {
    let page = include_str!("../docs/how-it-works.md");
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "rs"))
        .collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let found = ["coordinator", "probe"].iter().any(|part| is_there(&workspace().join(part), name))
            || workspace().join(name).is_file();
        assert!(found, "docs/how-it-works.md names {name}");
    }
}
