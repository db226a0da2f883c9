//! docs/install.md: the way out is as it says, line by line.

use crate::support::shell::{Shell, lines_of};
use crate::support::{House, LONG};

#[tokio::test(flavor = "multi_thread")]
async fn after_the_lines_for_uninstalling_nothing_of_mechanics_is_left() {
    let lines = lines_of(include_str!("../docs/install.md"));
    let [pause, held, scale, release, wait, delete] =
        lines.try_into().expect("other lines than are run here");
    let house = House::with_nodes(4, 1).await;
    let own = crate::support::manifests::own_kustomization("resources: [mechanic/deploy/overlays/default]");
    let shell = Shell::of(&house).in_folder(own.path());
    let node = house.node_without_coordinator();
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "drained").await;

    shell.run(&pause).await;
    // In force: another event begins nothing.
    let other = house.nodes.iter().find(|other| other.name != node.name).unwrap();
    house
        .wait("the setting is kept", async || {
            let kept =
                house.cluster.kubectl(["-n", "mechanic", "get", "cm", "mechanic-accepted", "-o", "yaml"]);
            kept.await.ok()?.contains("paused: \"true\"").then_some(())
        })
        .await;
    let later = house.announce_reboot(other);
    let still_held = shell.run(&held).await;
    assert!(still_held.lines().count() == 2 && still_held.contains(&node.name), "{still_held}");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(house.claim(&other.name).await, None, "a node is claimed in spite of the pause");

    for line in [scale, release, wait] {
        shell.run(&line).await;
    }
    house.wait_released(&node.name).await;
    assert!(!shell.run(&held).await.contains(&node.name));
    shell.run(&delete).await;
    house
        .installation
        .wait_for("the end of all pods", LONG, |pods| pods.is_empty().then_some(()))
        .await
        .unwrap();
    let left = "kubectl get all,job,cm,secret,role,rolebinding,lease,netpol,pdb,clusterrole,clusterrolebinding -A -o name";
    let left = shell.run(left).await;
    assert!(!left.contains("mechanic"), "{left}");
    for event in [event, later] {
        house.remove(&event);
    }
    house.judge().await;
}
