//! The metadata service, asked over HTTP as a probe would ask it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use mechanic_sandbox::azure::{Azure, Behaviour, Event, Vm};
use reqwest::{Client, Response};
use serde_json::{Value, json};

const EVENTS: &str = "/metadata/scheduledevents?api-version=2020-07-01";
const COMPUTE: &str = "/metadata/instance/compute?api-version=2021-02-01&format=json";

fn vm(id: u32, placement_group: &str) -> Vm {
    let set = "aks-userpool-18472905-vmss";
    Vm {
        name: format!("{set}_{id}"),
        vm_id: format!("02aab8a4-74ef-476e-8182-f6d2ba41{id:04}"),
        resource_id: format!(
            "/subscriptions/0001/resourceGroups/MC_rg/providers/Microsoft.Compute/virtualMachineScaleSets/{set}/virtualMachines/{id}"
        ),
        resource_group: "MC_rg".into(),
        scale_set: set.into(),
        placement_group: placement_group.into(),
        computer_name: format!("{set}00000{id}"),
        priority: "Regular".into(),
        zone: "2".into(),
        size: "Standard_D4s_v5".into(),
        location: "westeurope".into(),
    }
}

async fn azure_with(vms: &[Vm]) -> Azure {
    let azure = Azure::new();
    for vm in vms {
        azure.add_vm(vm.clone(), [127, 0, 0, 1], "boot-1").await.unwrap();
    }
    azure
}

struct Guest<'a> {
    azure: &'a Azure,
    vm: &'a str,
    client: Client,
}

impl<'a> Guest<'a> {
    fn of(azure: &'a Azure, vm: &'a Vm) -> Self {
        Self { azure, vm: &vm.name, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.azure.imds_address(self.vm).unwrap())
    }

    async fn get(&self, path: &str) -> reqwest::Result<Response> {
        let request = self.client.get(self.url(path)).header("Metadata", "true");
        request.timeout(Duration::from_millis(500)).send().await
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).await.unwrap().bytes().await.unwrap()).unwrap()
    }

    async fn events(&self) -> Value {
        self.json(EVENTS).await
    }
}

fn no_limit(azure: &Azure, vm: &Vm) {
    azure.set_throttling(&vm.name, false).unwrap();
}

#[tokio::test]
async fn a_request_that_breaks_the_rules_is_refused() {
    let vm = vm(13, "pg");
    let azure = azure_with(std::slice::from_ref(&vm)).await;
    no_limit(&azure, &vm);
    let guest = Guest::of(&azure, &vm);

    let bare = guest.client.get(guest.url(EVENTS)).send().await.unwrap();
    assert_eq!(bare.status(), 400);
    let said_no = guest.client.get(guest.url(EVENTS)).header("Metadata", "false").send().await.unwrap();
    assert_eq!(said_no.status(), 400);
    let proxied = guest.client.get(guest.url(EVENTS)).header("Metadata", "true");
    let proxied = proxied.header("X-Forwarded-For", "10.0.0.1").send().await.unwrap();
    assert_eq!(proxied.status(), 400);

    for (path, status) in [
        ("/metadata/scheduledevents", 400),
        ("/metadata/scheduledevents?api-version=2099-01-01", 400),
        ("/metadata/scheduledevents?api-version=2020-07-01&api-version=2019-08-01", 400),
        ("/metadata/scheduledevents?api-version=2024-07-09", 404),
        ("/metadata/instance/compute?api-version=2020-07-01", 400),
        ("/metadata/instance/nothing?api-version=2021-02-01", 404),
        ("/elsewhere", 404),
    ] {
        assert_eq!(guest.get(path).await.unwrap().status(), status, "{path}");
    }
    let refusal: Value = guest.json("/metadata/scheduledevents").await;
    assert_eq!(refusal["newest-versions"][0], "2020-07-01");
    assert!(refusal.get("Events").is_none());

    let put = guest.client.put(guest.url(EVENTS)).header("Metadata", "true").send().await.unwrap();
    assert_eq!(put.status(), 405);
    let post = guest.client.post(guest.url(COMPUTE)).header("Metadata", "true").send().await.unwrap();
    assert_eq!(post.status(), 405);
    assert_eq!(azure.requests(&vm.name).unwrap().total(), 13);
}

#[tokio::test]
async fn a_vm_learns_who_it_is() {
    let vm = vm(13, "pg");
    let azure = azure_with(std::slice::from_ref(&vm)).await;
    let compute: Value = Guest::of(&azure, &vm).json(COMPUTE).await;
    assert_eq!(compute["name"], "aks-userpool-18472905-vmss_13");
    assert_eq!(compute["vmId"], vm.vm_id.as_str());
    assert_eq!(compute["resourceId"], vm.resource_id.as_str());
    assert_eq!(azure.requests(&vm.name).unwrap().instance, 1);
}

#[tokio::test]
async fn an_event_is_seen_by_its_placement_group_until_it_is_over() {
    let (hit, neighbour, stranger) = (vm(1, "pg"), vm(2, "pg"), vm(3, "other"));
    let azure = azure_with(&[hit.clone(), neighbour.clone(), stranger.clone()]).await;
    let [hit_sees, neighbour_sees, stranger_sees] =
        [&hit, &neighbour, &stranger].map(|vm| Guest::of(&azure, vm));
    let before = neighbour_sees.events().await;
    assert_eq!(before["Events"], json!([]));

    let event = Event::scheduled("Reboot", [hit.name.as_str()], Duration::from_mins(15));
    let id = azure.announce(&event).unwrap();
    let announced = neighbour_sees.events().await;
    assert_eq!(announced, hit_sees.events().await);
    assert_eq!(announced["Events"][0]["EventId"], id.as_str());
    assert_eq!(announced["Events"][0]["NotBefore"], event.not_before.as_str());
    assert!(announced["DocumentIncarnation"].as_u64() > before["DocumentIncarnation"].as_u64());
    assert_eq!(stranger_sees.events().await["Events"], json!([]));

    azure.start(&id).unwrap();
    let started = hit_sees.events().await;
    assert_eq!(started["Events"][0]["EventStatus"], "Started");
    assert_eq!(started["Events"][0]["NotBefore"], "");

    azure.remove(&id).unwrap();
    let over = hit_sees.events().await;
    assert_eq!(over["Events"], json!([]));
    assert_eq!(over["DocumentIncarnation"], 4);
    assert!(azure.remove(&id).is_err());
}

#[tokio::test]
async fn an_approval_names_events_that_exist() {
    let vm = vm(13, "pg");
    let azure = azure_with(std::slice::from_ref(&vm)).await;
    let guest = Guest::of(&azure, &vm);
    let id =
        azure.announce(&Event::scheduled("Reboot", [vm.name.as_str()], Duration::from_mins(15))).unwrap();
    for (body, status) in [
        (json!({ "StartRequests": [{ "EventId": id }] }), 200),
        (json!({ "StartRequests": [{ "EventId": "unknown" }] }), 400),
        (json!({ "Start": [] }), 400),
    ] {
        let post = guest.client.post(guest.url(EVENTS)).header("Metadata", "true").body(body.to_string());
        assert_eq!(post.send().await.unwrap().status(), status, "{body}");
    }
    let approvals = azure.approvals();
    assert_eq!(approvals.len(), 1);
    assert_eq!(
        (approvals[0].event_id.as_str(), approvals[0].by_vm.as_str()),
        (id.as_str(), vm.name.as_str())
    );
}

#[tokio::test]
async fn the_sixth_request_of_a_second_is_throttled() {
    let vm = vm(13, "pg");
    let azure = azure_with(std::slice::from_ref(&vm)).await;
    let guest = Guest::of(&azure, &vm);
    let answers = futures::future::join_all((0..6).map(|_| guest.get(EVENTS))).await;
    let throttled = answers.iter().filter(|answer| answer.as_ref().unwrap().status() == 429).count();
    assert_eq!(throttled, 1);
    assert_eq!(azure.requests(&vm.name).unwrap().throttled, 1);
}

#[tokio::test]
async fn it_fails_in_the_way_that_was_asked_for_and_recovers() {
    let vm = vm(13, "pg");
    let azure = azure_with(std::slice::from_ref(&vm)).await;
    no_limit(&azure, &vm);
    let guest = Guest::of(&azure, &vm);
    azure.announce(&Event::scheduled("Reboot", [vm.name.as_str()], Duration::from_mins(15))).unwrap();
    for (behaviour, status, is_json) in [
        (Behaviour::Throttled, 429, false),
        (Behaviour::ErrorWithJson, 500, true),
        (Behaviour::ErrorWithoutBody, 500, false),
        (Behaviour::Gone, 410, true),
        (Behaviour::EmptyBody, 200, false),
        (Behaviour::BrokenJson, 200, false),
        (Behaviour::Html, 200, false),
    ] {
        azure.set_behaviour(&vm.name, behaviour).unwrap();
        let answer = guest.get(EVENTS).await.unwrap();
        assert_eq!(answer.status(), status, "{behaviour:?}");
        let body = answer.bytes().await.unwrap();
        let parsed = serde_json::from_slice::<Value>(&body);
        assert_eq!(parsed.is_ok(), is_json, "{behaviour:?}: {body:?}");
        assert!(parsed.is_ok_and(|body| body.get("Events").is_none()) || !is_json, "{behaviour:?}");
    }
    for behaviour in [Behaviour::Hanging, Behaviour::Silent, Behaviour::Refused] {
        azure.set_behaviour(&vm.name, behaviour).unwrap();
        // A connection from before may still be in the client's pool; none of them may be answered.
        let error = guest.get(EVENTS).await.unwrap_err();
        assert_eq!(error.is_timeout(), behaviour != Behaviour::Refused, "{behaviour:?}: {error:?}");
        azure.set_behaviour(&vm.name, Behaviour::Normal).unwrap();
        assert!(recovers(&guest).await, "{behaviour:?}");
    }
    azure.set_behaviour(&vm.name, Behaviour::HangingBody).unwrap();
    let half = guest.get(EVENTS).await.unwrap();
    assert_eq!(half.status(), 200);
    assert!(half.bytes().await.unwrap_err().is_timeout());
}

// The port is bound again a moment after the change.
async fn recovers(guest: &Guest<'_>) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        if guest.get(EVENTS).await.is_ok_and(|answer| answer.status() == 200) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn only_the_first_answer_is_slow() {
    let vm = vm(13, "pg");
    let azure = azure_with(std::slice::from_ref(&vm)).await;
    azure.set_behaviour(&vm.name, Behaviour::SlowFirstAnswer(Duration::from_secs(1))).unwrap();
    let guest = Guest::of(&azure, &vm);
    let started = Instant::now();
    assert!(guest.get(EVENTS).await.unwrap_err().is_timeout());
    let second = guest.client.get(guest.url(EVENTS)).header("Metadata", "true").send().await.unwrap();
    assert_eq!(second.status(), 200);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(guest.get(EVENTS).await.unwrap().status(), 200, "by the book from then on");
}

#[tokio::test]
async fn a_vm_that_is_off_says_nothing_and_boots_anew() {
    let vm = vm(13, "pg");
    let azure = azure_with(std::slice::from_ref(&vm)).await;
    let guest = Guest::of(&azure, &vm);
    let mut power = azure.power(&vm.name).unwrap();
    assert_eq!(power.borrow_and_update().boot_id, "boot-1");

    azure.power_off(&vm.name).unwrap();
    assert!(guest.get(EVENTS).await.unwrap_err().is_timeout());
    assert!(!power.borrow_and_update().on);

    let boot_id = azure.power_on(&vm.name).unwrap();
    assert!(recovers(&guest).await);
    let now = power.borrow_and_update().clone();
    assert!(now.on && now.boot_id == boot_id && boot_id != "boot-1", "{now:?}");
}

#[tokio::test]
async fn a_document_can_be_put_in_its_place_byte_by_byte() {
    let vm = vm(13, "pg");
    let azure = azure_with(std::slice::from_ref(&vm)).await;
    let guest = Guest::of(&azure, &vm);
    azure.override_document(&vm.name, Some("{\"DocumentIncarnation\":7}".into())).unwrap();
    assert_eq!(guest.events().await, json!({ "DocumentIncarnation": 7 }));
    assert_eq!(guest.get(COMPUTE).await.unwrap().status(), 200);
    azure.override_document(&vm.name, None).unwrap();
    assert_eq!(guest.events().await["Events"], json!([]));
}
