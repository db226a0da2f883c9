//! docs/debugging.md: each of its lines shows what is said of it.

use std::collections::BTreeSet;

use crate::support::House;
use crate::support::shell::{Shell, lines_of};
use mechanic_proto::v1::ProbeCoverage;
use mechanic_sandbox::workloads::Workload;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn each_line_shows_what_is_said_of_it() {
    let lines = lines_of(include_str!("../docs/debugging.md"));
    let [lease, pods, fleet, list, follow, explain, events, claim, refused] =
        lines.try_into().expect("other lines than are run here");
    let house = House::with_nodes(4, 1).await;
    let shell = Shell::of(&house);
    let node = house.node_without_coordinator();
    // A budget that lets none go: the node waits, and somebody wants to know why.
    house.deploy(&Workload::new("web", 8).spread(), Some(0)).await;
    house.configure(json!({"max-cordned": "1"})).await;
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    let about = |line: &str| line.replace("NODE", &node.name);
    let call = async |line: &str| shell.run(&format!("{fleet}\n{}", about(line))).await;

    let leader = house.leader().await;
    let says = shell.run(&lease).await;
    assert!(says.starts_with(&leader.pod) && says.contains(" renewed 20"), "{says}");
    assert_eq!(shell.run(&pods).await.lines().count(), 1 + 2 + 4);

    let covered = async || {
        let listed: Value = serde_json::from_str(&call(&list).await).unwrap();
        (listed["nodes"][0]["coverage"] == "PROBE_COVERAGE_COVERED").then_some(listed)
    };
    let listed = house.wait("the probe is heard", covered).await;
    assert_eq!(listed["refusedSettings"][0]["key"], "max-cordned", "{listed}");
    // It goes on until Ctrl-C.
    let follow = follow.replace("fleet Watch", "timeout --signal INT 5 bash -c 'fleet \"$@\"' fleet Watch")
        + " || true";
    let followed = call(&format!("export -f fleet\n{follow}")).await;
    assert!(followed.contains("consecutivePolls"), "{followed}");

    let explained: Value = serde_json::from_str(&call(&explain).await).unwrap();
    assert_eq!(explained["events"][0]["eventId"], *event, "{explained}");
    let blocked =
        |pod: &Value| pod["reason"] == "BlockedForGood" && pod["message"].as_str().unwrap().contains("web");
    assert!(explained["pods"].as_array().unwrap().iter().any(blocked), "{explained}");

    let happened = shell.run(&about(&events)).await;
    assert!(happened.contains("Cordoned") && happened.contains("DrainStarted"), "{happened}");
    let claim: Value = serde_json::from_str(&shell.run(&about(&claim)).await).unwrap();
    assert!(claim["events"].as_object().unwrap().contains_key(&event), "{claim}");
    assert!(shell.run(&refused).await.contains("`max-cordoned` may be meant"));

    house.open_budget("web").await.unwrap();
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

#[test]
fn the_page_says_of_each_coverage_what_to_look_at() {
    let page = include_str!("../docs/debugging.md");
    let (_, table) = page.split_once("| coverage | look at |\n|---|---|\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let cells = table.lines().map(|row| row.split('|').nth(1).unwrap());
    let documented: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let all = (1..).map_while(|number| ProbeCoverage::try_from(number).ok());
    let all: BTreeSet<_> =
        all.map(|one| one.as_str_name().strip_prefix("PROBE_COVERAGE_").unwrap()).collect();
    assert_eq!(documented.len(), all.len(), "each once: {documented:?}");
    assert_eq!(documented.into_iter().collect::<BTreeSet<_>>(), all);
}
