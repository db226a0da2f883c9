//! Every line that README.md and `--keep` give to look inside does what it says, run by a shell as it is printed.

use std::{collections::BTreeSet, time::Duration};

use crate::support::House;
use crate::support::shell::{Shell, lines_of};
use mechanic_sandbox::{azure::Event, demo::look_inside, programs::workspace};

/// What README.md gives a reader to type; cargo's own lines are `.ci/run`'s to prove.
fn commands() -> Vec<String> {
    let mut lines = lines_of(include_str!("../README.md"));
    lines.retain(|line| !line.starts_with("cargo "));
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_to_look_inside_shows_what_is_said_of_it() {
    let [describe, held, edit, call] = commands().try_into().expect("other lines than are run here");
    let house = House::with_nodes(4, 1).await;
    let shell = Shell::of(&house);
    let node = house.node_without_coordinator();
    let other = house.nodes.iter().find(|other| other.name != node.name).unwrap();
    let [get_nodes, list, explain, follow] = look_inside(&other.name).try_into().unwrap();

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
    assert_eq!(list, call, "`--keep` prints what README.md shows");

    for event in [event, later] {
        house.remove(&event);
    }
    for node in [node, other] {
        house.wait_released(&node.name).await;
    }
    house.judge().await;
}

/// Each of these has a test that types what it says: of `images.md` it is `mechanic-real-node`, of `scenarios.md` the
/// sandbox's.
#[test]
fn no_page_tells_people_to_type_what_no_test_has_typed() {
    let docs = std::fs::read_dir(workspace().join("docs")).unwrap();
    let typed = docs.filter_map(|page| {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).ok()?;
        text.contains("```sh\n").then(|| page.file_name().unwrap().to_string_lossy().into_owned())
    });
    let mut typed: Vec<String> = typed.collect();
    typed.sort();
    assert_eq!(typed, ["configuration.md", "debugging.md", "images.md", "install.md", "scenarios.md"]);
}
