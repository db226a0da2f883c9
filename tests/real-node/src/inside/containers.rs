//! mechanic's containers as the kernel sees them, from the processes' side.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use mechanic_sandbox::cluster::Cluster;

/// What `/proc/PID/status` says of a process that is allowed nothing.
const NOTHING_ALLOWED: [(&str, &str); 8] = [
    ("Uid", "65532 65532 65532 65532"),
    ("Gid", "65532 65532 65532 65532"),
    ("CapPrm", "0000000000000000"),
    ("CapEff", "0000000000000000"),
    ("CapBnd", "0000000000000000"),
    ("CapAmb", "0000000000000000"),
    ("NoNewPrivs", "1"),
    // A filter of system calls.
    ("Seccomp", "2"),
];

/// Checks each process of `program`, of which there must be `count`.
pub(super) fn confined(program: &str, count: usize) -> Result<()> {
    let processes = processes_of(program)?;
    if processes.len() != count {
        bail!("{} processes run {program} instead of {count}", processes.len());
    }
    for process in processes {
        let read = |file: &str| {
            let path = process.join(file);
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
        };
        let status = read("status")?;
        for (key, expected) in NOTHING_ALLOWED {
            let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let value = value.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            if value != expected {
                bail!("{key} of {program} is {value:?} instead of {expected:?}");
            }
        }
        let mounts = read("mounts")?;
        let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap_or_default();
        if !root.split(' ').nth(3).is_some_and(|options| options.split(',').any(|option| option == "ro")) {
            bail!("the root of {program} can be written: {root}");
        }
    }
    Ok(())
}

fn processes_of(program: &str) -> Result<Vec<PathBuf>> {
    let all = fs::read_dir("/proc").context("can't read /proc")?;
    let runs_it = |process: &PathBuf| {
        fs::read_link(process.join("exe")).is_ok_and(|exe| exe == Path::new("/").join(program))
    };
    Ok(all.flatten().map(|entry| entry.path()).filter(runs_it).collect())
}

/// What is worth reading after a failure, besides the programs' own logs.
pub(super) async fn keep_logs(cluster: &Cluster, logs: &Path) {
    let questions: [(&str, &[&str]); 3] = [
        ("pods.txt", &["describe", "pods", "--all-namespaces"]),
        ("nodes.txt", &["describe", "nodes"]),
        ("events.txt", &["get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"]),
    ];
    for (file, question) in questions {
        let answer = cluster.kubectl(question).await.unwrap_or_else(|error| format!("{error:#}\n"));
        // The failure itself is told elsewhere; this is an aid.
        let _ = fs::write(logs.join(file), answer);
    }
}
