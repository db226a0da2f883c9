//! What is understood of each payload in imds-samples/: one row a file, and no file without a row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf};

use bytes::Bytes;
use mechanic_probe::{document::Document, identity};
use mechanic_proto::v1::ScheduledEvent;

/// File, status it came with, what was understood of it.
/// An event reads: id's end, type, status, resources, `NotBefore`, source, seconds, description.
const ROWS: [(&str, u16, &str); 29] = [
    ("01-empty.json", 200, "#1"),
    (
        "02-freeze-host-maintenance-scheduled.json",
        200,
        "#2 [2B11 Freeze Scheduled VirtualMachine aks-userpool-18472905-vmss_13 | Sun, 22 Nov 2026 14:45:10 GMT | Platform 9 | Host server is undergoing maintenance.]",
    ),
    (
        "03-freeze-live-migration-scheduled.json",
        200,
        "#4 [8812 Freeze Scheduled VirtualMachine aks-userpool-18472905-vmss_13 | Sun, 22 Nov 2026 15:00:00 GMT | Platform 5 | Virtual machine is being paused because of a memory-preserving Live Migration operation.]",
    ),
    (
        "04-freeze-live-migration-started.json",
        200,
        "#5 [8812 Freeze Started VirtualMachine aks-userpool-18472905-vmss_13 |  | Platform 5 | Virtual machine is being paused because of a memory-preserving Live Migration operation.]",
    ),
    (
        "06-reboot-user-scheduled-duration-unknown.json",
        200,
        "#8 [D013 Reboot Scheduled VirtualMachine aks-userpool-18472905-vmss_7 | Sun, 22 Nov 2026 16:14:58 GMT | User ? | Virtual machine is going to be restarted as requested by authorized user.]",
    ),
    (
        "07-reboot-user-empty-description.json",
        200,
        "#9 [D014 Reboot Scheduled VirtualMachine standalone-vm-01 | Sun, 22 Nov 2026 16:14:58 GMT | User ? | ]",
    ),
    (
        "08-reboot-platform-hardware-failure-started-first.json",
        200,
        "#11 [E015 Reboot Started VirtualMachine aks-userpool-18472905-vmss_21 |  | Platform ? | Host server is undergoing an emergency repair.]",
    ),
    (
        "09-redeploy-platform-scheduled.json",
        200,
        "#12 [1016 Redeploy Scheduled VirtualMachine aks-userpool-18472905-vmss_21 | Sun, 22 Nov 2026 17:10:00 GMT | Platform ? | Virtual machine has encountered a failure.]",
    ),
    (
        "11-preempt-spot-30s.json",
        200,
        "#2 [C018 Preempt Scheduled VirtualMachine aks-spot-34525998-vmss_24 | Sun, 22 Nov 2026 08:18:16 GMT | Platform ? | ]",
    ),
    (
        "12-preempt-started.json",
        200,
        "#3 [C018 Preempt Started VirtualMachine aks-spot-34525998-vmss_24 |  | Platform ? | ]",
    ),
    (
        "13-terminate-old-api-missing-optional-fields.json",
        200,
        "#1 [1019 Terminate Scheduled VirtualMachine aks-userpool-18472905-vmss_2 | Sun, 22 Nov 2026 12:10:00 GMT |  ? | ]",
    ),
    (
        "14-terminate-user-10min.json",
        200,
        "#3 [1020 Terminate Scheduled VirtualMachine aks-userpool-18472905-vmss_2 | Sun, 22 Nov 2026 12:10:00 GMT | User ? | ]",
    ),
    (
        "15-freeze-one-event-many-vms.json",
        200,
        "#20 [1021 Freeze Scheduled VirtualMachine aks-userpool-18472905-vmss_3,aks-userpool-18472905-vmss_9,aks-userpool-18472905-vmss_10 | Sun, 22 Nov 2026 18:00:00 GMT | Platform 9 | Host server is undergoing maintenance.]",
    ),
    (
        "16-many-events-other-vms-prefix-trap.json",
        200,
        "#31 [0001 Redeploy Scheduled VirtualMachine aks-userpool-18472905-vmss_10 | Sun, 22 Nov 2026 18:10:00 GMT | Platform ? | Virtual machine has encountered a failure.] \
      [0002 Reboot Scheduled VirtualMachine aks-userpool-18472905-vmss_100,aks-userpool-18472905-vmss_11 | Sun, 22 Nov 2026 18:20:00 GMT | Platform ? | Host server is undergoing maintenance.] \
      [0003 Freeze Started VirtualMachine aks-userpool-18472905-vmss_2 |  | Platform 5 | Virtual machine is being paused because of a memory-preserving Live Migration operation.]",
    ),
    (
        "18a-cancelled-before.json",
        200,
        "#40 [1022 Freeze Scheduled VirtualMachine aks-userpool-18472905-vmss_5 | Sun, 22 Nov 2026 19:15:00 GMT | Platform 9 | Host server is undergoing maintenance.]",
    ),
    ("18b-cancelled-after-removed-before-notbefore.json", 200, "#41"),
    (
        "19-freeze-zero-duration.json",
        200,
        "#44 [1023 Freeze Scheduled VirtualMachine aks-userpool-18472905-vmss_5 | Sun, 22 Nov 2026 19:15:00 GMT | Platform 0 | Host Server infrastructure is undergoing maintenance.]",
    ),
    (
        "21-spot-rebalance-advisory-2024-07-09.json",
        200,
        "#7 [1025 SpotRebalanceRecommendation Advisory VirtualMachine aks-spot-34525998-vmss_24 |  | Platform ? | ]",
    ),
    (
        "22-unknown-type-status-resource.json",
        200,
        "#50 [1026 Hibernate Paused BareMetalHost aks-userpool-18472905-vmss_6 | Sun, 22 Nov 2026 21:00:00 GMT | Tenant 120 | Text never seen before.]",
    ),
    (
        "24-notbefore-wrong-weekday.json",
        200,
        "#52 [1028 Freeze Scheduled VirtualMachine aks-userpool-18472905-vmss_6 | Mon, 22 Nov 2026 21:00:00 GMT | Platform 9 | Host server is undergoing maintenance.]",
    ),
    (
        "27-resource-underscore-and-case.json",
        200,
        "#55 [1031 Redeploy Scheduled VirtualMachine _AKS-USERPOOL-18472905-VMSS_6 | Sun, 22 Nov 2026 22:00:00 GMT | Platform ? | Host server is undergoing maintenance.]",
    ),
    (
        "28-vm-node-pool-and-nap-names.json",
        200,
        "#56 [0001 Redeploy Scheduled VirtualMachine aks-nodes-32301838-vms0 | Sun, 22 Nov 2026 22:10:00 GMT | Platform ? | Virtual machine has encountered a failure.] \
      [0002 Reboot Scheduled VirtualMachine aks-default-x7k2p | Sun, 22 Nov 2026 22:15:00 GMT | Platform ? | Host server is undergoing maintenance.] \
      [0003 Freeze Scheduled VirtualMachine flexpool_a1b2c3d4 | Sun, 22 Nov 2026 22:20:00 GMT | Platform 9 | Host server is undergoing maintenance.]",
    ),
    (
        "29-null-and-missing-fields.json",
        200,
        "#57 [0001 Freeze Scheduled   |  |  ? | ] [0002 Reboot Scheduled   |  |  ? | ] unreadable 2: it has no EventId",
    ),
    ("31-events-key-missing.json", 200, "NotADocument"),
    ("90-malformed-truncated.json.txt", 200, "NotJson"),
    ("91-empty-body.txt", 200, "EmptyBody"),
    ("93-http-429-throttled.txt", 429, "Throttled"),
    ("94-http-proxy-html-200.txt", 200, "NotJson, a proxy may stand in between"),
    // Bodies of other requests: as an answer to a poll they say nothing.
    ("96-post-startrequests-body.json", 200, "NotADocument"),
];

const COMPUTE: [(&str, [&str; 4]); 2] = [
    (
        "97-compute-metadata-vmss-uniform.json",
        [
            "aks-userpool-18472905-vmss_13",
            "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
            "f67c14ab-e92c-408c-ae2d-da15866ec79a",
            "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/MC_rg_cluster_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets/aks-userpool-18472905-vmss/virtualMachines/13",
        ],
    ),
    (
        "98-compute-metadata-spot-vm-pool.json",
        [
            "aks-nodes-32301838-vms0",
            "1b2c3d4e-0000-4000-8000-000000000002",
            "",
            "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/MC_rg_cluster_westeurope/providers/Microsoft.Compute/virtualMachines/aks-nodes-32301838-vms0",
        ],
    ),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/imds-samples")
}

fn event(event: &ScheduledEvent) -> String {
    let id = event.event_id.get(32..).unwrap();
    let seconds = event.duration.map_or("?".to_owned(), |duration| duration.seconds.to_string());
    let (kind, status, resource_type) = (&event.r#type, &event.status, &event.resource_type);
    let (resources, not_before) = (event.resources.join(","), &event.not_before);
    let (source, description) = (&event.source, &event.description);
    format!(
        "[{id} {kind} {status} {resource_type} {resources} | {not_before} | {source} {seconds} | {description}]"
    )
}

fn understood(status: u16, body: &[u8]) -> String {
    let document = match Document::judge(status, Bytes::copy_from_slice(body)) {
        Ok(document) => document,
        Err(failure) => {
            let hint = if failure.detail.contains("proxy") { ", a proxy may stand in between" } else { "" };
            return format!("{:?}{hint}", failure.kind);
        }
    };
    assert_eq!(document.body, body, "the document travels as it came");
    let mut text = format!("#{}", document.incarnation.unwrap());
    document.events.iter().for_each(|entry| write!(text, " {}", event(entry)).unwrap());
    for entry in &document.unreadable {
        write!(text, " unreadable {}: {}", entry.index, entry.reason).unwrap();
    }
    text
}

#[test]
fn every_sample_is_understood_as_the_table_says() {
    for (file, status, expected) in ROWS {
        let body = fs::read(folder().join(file)).unwrap();
        assert_eq!(understood(status, &body), expected, "{file}");
    }
}

#[test]
fn the_machine_is_read_from_compute_and_from_nothing_else() {
    for (file, expected) in COMPUTE {
        let body = fs::read(folder().join(file)).unwrap();
        let vm = identity::virtual_machine(&body).unwrap();
        assert_eq!([vm.name, vm.vm_id, vm.placement_group_id, vm.resource_id], expected, "{file}");
        let poll = Document::judge(200, Bytes::from(body)).unwrap_err();
        assert_eq!(poll.kind.as_str_name(), "POLL_FAILURE_KIND_NOT_A_DOCUMENT", "{file}");
    }
    for (file, ..) in ROWS {
        assert!(identity::virtual_machine(&fs::read(folder().join(file)).unwrap()).is_err(), "{file}");
    }
    for wrong in [
        r#"["a","b","c","d"]"#,
        r#"{"name":"a","vmId":"b","resourceId":""}"#,
        r#"{"name":"a","vmId":null,"resourceId":"c"}"#,
    ] {
        assert!(identity::virtual_machine(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn no_sample_is_without_a_row() {
    let files: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let rows: BTreeSet<_> =
        ROWS.iter().map(|row| row.0).chain(COMPUTE.iter().map(|row| row.0)).map(str::to_owned).collect();
    assert_eq!(files, rows);
}
