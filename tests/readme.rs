//! Every line that README.md and `--keep` give to look inside does what it says, run by a shell as it is printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use mechanic_sandbox::{
    azure::Event,
    demo::{look_inside, shell},
};
use serde_json::Value;
use support::{House, LONG};
use tokio::process::Command;

const README: &str = include_str!("../README.md");

/// What README.md gives a reader to type, without comments; cargo's own lines are `.ci/run`'s to prove.
fn commands() -> Vec<String> {
    let blocks = README.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let lines = blocks.flat_map(str::lines).map(|line| line.split(" #").next().unwrap().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with("cargo ")).map(str::to_owned).collect()
}

/// A reader's shell, with the line in it that `--keep` prints first.
struct Shell {
    setup: String,
    home: PathBuf,
}

impl Shell {
    fn of(house: &House) -> Self {
        Self { setup: shell(&house.cluster), home: house.cluster.folder("home").unwrap() }
    }

    async fn run(&self, line: &str) -> String {
        let mut command = Command::new("bash");
        command.arg("-ec").arg(format!("{}\n{line}", self.setup)).kill_on_drop(true);
        command.env("HOME", &self.home).env("TMPDIR", &self.home);
        // In place of a person: what kubectl calls to have a file edited.
        command.env("KUBE_EDITOR", "sed -i /lead-time:/s/10m/60m/");
        let output = tokio::time::timeout(LONG, command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\nended with {}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line).await).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_to_look_inside_shows_what_is_said_of_it() {
    let [describe, held, edit, create_token] = commands().try_into().expect("other lines than are run here");
    let house = House::with_nodes(4, 1).await;
    let shell = Shell::of(&house);
    let node = house.node_without_coordinator();
    let other = house.nodes.iter().find(|other| other.name != node.name).unwrap();
    let [get_nodes, list, explain, follow] =
        look_inside(&house.installation, &other.name).unwrap().try_into().unwrap();

    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "drained").await;
    house
        .wait("kubectl describe shows the Event DrainFinished", async || {
            shell.run(&describe).await.contains("DrainFinished").then_some(())
        })
        .await;
    let held = shell.run(&held).await;
    assert!(held.lines().count() == 2 && held.contains(&node.name), "{held}");

    // Further ahead than the lead time: shown, and nothing is done until that setting is another.
    let ahead = Event::scheduled("Reboot", [other.vm_name()], Duration::from_mins(45));
    let later = house.announce(other, &ahead);
    let explained = house
        .wait("ExplainNode shows the later event", async || {
            let explained = shell.json(&explain).await;
            explained["events"].is_array().then_some(explained)
        })
        .await;
    assert_eq!(explained["node"]["phase"], "NODE_PHASE_NOTICED", "{explained}");
    assert_eq!(explained["events"][0]["eventId"], *later, "{explained}");
    assert_eq!(house.claim(&other.name).await, None);
    let edited = shell.run(&edit).await;
    assert!(edited.contains("configmap/mechanic edited"), "{edited}");
    house.wait_for_phase(&other.name, "drained").await;

    let nodes: BTreeSet<&str> = house.nodes.iter().map(|node| node.name.as_str()).collect();
    let shown = shell.run(&get_nodes).await;
    assert!(nodes.iter().all(|node| shown.contains(node)), "{shown}");
    let listed = shell.json(&list).await;
    let names = listed["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap());
    assert_eq!(names.collect::<BTreeSet<_>>(), nodes);
    // It goes on until Ctrl-C.
    let followed = shell.run(&format!("timeout --signal INT 5 {follow} || true")).await;
    assert!(followed.contains("consecutivePolls"), "{followed}");
    // `--keep` has each call make its token by the line that README.md gives.
    assert!(!shell.run(&create_token).await.trim().is_empty());
    assert!(list.contains(&format!("$({create_token})")), "{list}");

    for event in [event, later] {
        house.remove(&event);
    }
    for node in [node, other] {
        house.wait_released(&node.name).await;
    }
    house.judge().await;
}
