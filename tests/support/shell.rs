//! What a page gives a reader to type, and the shell that it is typed into.

use std::path::{Path, PathBuf};

use mechanic_sandbox::demo::shell;
use serde_json::Value;
use tokio::process::Command;

use crate::support::{House, LONG};

/// The lines of a page's shell blocks, without comments; one that goes on below is one.
pub(crate) fn lines_of(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let blocks = blocks.map(|block| block.replace("\\\n  ", ""));
    let lines = blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    let lines = lines.map(|line| line.split(" #").next().unwrap().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// A reader's shell, with the line in it that `--keep` prints first.
pub(crate) struct Shell {
    setup: String,
    home: PathBuf,
    folder: PathBuf,
}

impl Shell {
    pub(crate) fn of(house: &House) -> Self {
        let home = house.cluster.folder("home").unwrap();
        Self { setup: shell(&house.cluster, &house.installation).unwrap(), folder: home.clone(), home }
    }

    /// The same in another folder.
    pub(crate) fn in_folder(self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self }
    }

    pub(crate) async fn run(&self, line: &str) -> String {
        let mut command = Command::new("bash");
        command.arg("-ec").arg(format!("{}\n{line}", self.setup)).kill_on_drop(true);
        command.current_dir(&self.folder).env("HOME", &self.home).env("TMPDIR", &self.home);
        // In place of a person: what kubectl calls to have a file edited.
        command.env("KUBE_EDITOR", "sed -i /lead-time:/s/10m/60m/");
        let output = tokio::time::timeout(LONG, command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\nended with {}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line).await).unwrap()
    }
}
