//! kubectl's own table of what a drain does with a pod (`TestDrain`), row by row, by the numbers of
//! `tests/README.md`. Where kubectl refuses the whole node, the pod stays and the others go; where it needs a flag to
//! lose data, the event decides.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use mechanic_plan::{Controller, Departure, EventType, Pod, PodPhase, Surroundings, Verdict, Wave, classify};

fn pod(api_version: &str, kind: &str) -> Pod {
    Pod {
        namespace: "default".into(),
        name: "bar".into(),
        uid: "uid".into(),
        labels: BTreeMap::new(),
        phase: PodPhase::Active,
        controller: Some(Controller { api_version: api_version.into(), kind: kind.into() }),
        mirror: false,
        empty_dir: false,
        asks_to_stay: false,
        came_back: false,
        held_by_budget: false,
        wave: Wave::Ordinary,
        terminating: false,
        grace: Duration::from_secs(30),
    }
}

fn daemon() -> Pod {
    pod("apps/v1", "DaemonSet")
}

fn naked() -> Pod {
    Pod { controller: None, ..pod("", "") }
}

/// The verdict where the machine keeps its disks, and where it goes away.
fn verdicts(pod: &Pod) -> (Verdict, Verdict) {
    let verdict = |worst| {
        let departure = Departure { worst, ..Departure::UNKNOWN };
        let (leader_pod_uid, policy, now) = Default::default();
        classify(pod, &Surroundings { leader_pod_uid, departure, policy, now }, Wave::Ordinary)
    };
    (verdict(EventType::Reboot), verdict(EventType::Terminate))
}

macro_rules! rows {
    ($($name:ident: $pod:expr => $kept:ident, $gone:ident;)+) => {
        $(
            #[test]
            fn $name() {
                assert_eq!(verdicts(&$pod), (Verdict::$kept, Verdict::$gone));
            }
        )+
    };
}

rows! {
    j1_a_pod_of_a_replication_controller: pod("v1", "ReplicationController") => Evict, Evict;
    j2_j6_a_pod_of_a_daemon_set: daemon() => DaemonSetPod, DaemonSetPod;
    j3_a_finished_pod_of_a_daemon_set: Pod { phase: PodPhase::Finished, ..daemon() } => Evict, Evict;
    j4_j5_j11_j12_edge_20_a_naked_pod: naked() => Unmanaged, Evict;
    j7_a_pod_of_a_daemon_set_with_empty_dir: Pod { empty_dir: true, ..daemon() } => DaemonSetPod, DaemonSetPod;
    j8_edge_21_a_pod_of_a_job_with_empty_dir: Pod { empty_dir: true, ..pod("batch/v1", "Job") } => EmptyDir, Evict;
    j9_a_finished_pod_of_a_job_with_empty_dir:
        Pod { empty_dir: true, phase: PodPhase::Finished, ..pod("batch/v1", "Job") } => Evict, Evict;
    j10_a_pod_of_a_replica_set: pod("apps/v1", "ReplicaSet") => Evict, Evict;
    j13_j15_a_naked_pod_with_empty_dir: Pod { empty_dir: true, ..naked() } => Unmanaged, Evict;
    j14_a_finished_naked_pod_with_empty_dir:
        Pod { empty_dir: true, phase: PodPhase::Finished, ..naked() } => Evict, Evict;
    u3_another_groups_daemon_set_is_an_ordinary_controller:
        pod("apps.kruise.io/v1alpha1", "DaemonSet") => Evict, Evict;
    edge_12_a_pod_that_is_terminating_is_not_evicted_again:
        Pod { terminating: true, ..pod("apps/v1", "ReplicaSet") } => Terminating, Terminating;
    edge_17_a_pod_of_a_daemon_set_that_is_terminating:
        Pod { terminating: true, ..daemon() } => DaemonSetPod, DaemonSetPod;
}

#[test]
fn u5_edge_19_a_static_pod_stays_whatever_it_is() {
    let mirror = Pod { mirror: true, ..naked() };
    for pod in [
        Pod { phase: PodPhase::Finished, ..mirror.clone() },
        Pod { empty_dir: true, ..mirror.clone() },
        Pod { terminating: true, ..mirror.clone() },
        mirror,
    ] {
        assert_eq!(verdicts(&pod), (Verdict::MirrorPod, Verdict::MirrorPod), "{pod:?}");
    }
}

/// All rows there are: `tests/README.md` says of each which test has it, or why none has.
fn rows() -> Vec<String> {
    let of = |letter: &str, count: usize| (1..=count).map(|row| format!("{letter}{row}")).collect::<Vec<_>>();
    let tables = [
        ("W", 6),
        ("E", 3),
        ("D", 4),
        ("R", 2),
        ("X", 4),
        ("N", 2),
        ("S", 3),
        ("C", 9),
        ("K", 9),
        ("J", 17),
        ("U", 19),
    ];
    tables.into_iter().flat_map(|(letter, count)| of(letter, count)).chain(of("edge ", 42)).collect()
}

#[test]
fn each_row_has_a_test_with_its_number_or_a_reason_why_not() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(workspace.join("tests/README.md")).unwrap();
    let mut sources = String::new();
    for folder in ["coordinator/plan", "coordinator/src", "tests"] {
        read_all(&workspace.join(folder), &mut sources);
    }
    let mut listed = BTreeMap::<String, usize>::new();
    let (_, table) = readme.split_once("\n| row |").unwrap();
    for line in table.lines().skip(2).filter_map(|line| line.strip_prefix("| ")) {
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        let [ids, test, why] = cells[..] else { panic!("{line}") };
        for id in ids.split(", ") {
            *listed.entry(id.to_owned()).or_default() += 1;
            if test == "–" {
                assert!(why.len() > 10, "{id} has neither a test nor a reason");
                continue;
            }
            let name = test.trim_matches('`');
            let number = id.to_lowercase().replace(' ', "_");
            assert!(
                format!("_{name}_").contains(&format!("_{number}_")),
                "{name} doesn't carry the number of {id}"
            );
            let known = [format!("fn {name}("), format!("    {name}:")];
            assert!(known.iter().any(|known| sources.contains(known)), "there is no test {name}, for {id}");
        }
    }
    for row in rows() {
        assert_eq!(listed.remove(&row), Some(1), "{row} in tests/README.md");
    }
    assert!(listed.is_empty(), "there are no such rows: {listed:?}");
}

fn read_all(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
