//! What the guard does over time, request by request, without a server.

mod client_go;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use super::{Answer, Record, Refused};
use crate::{
    candidate::Candidate,
    clock::{Boottime, Reading},
    permit::NotLeading,
    timing::Timing,
};

const START: u64 = 1000;

/// A server that holds one Lease, and one candidate's record; time goes by hand.
struct World {
    record: Record,
    lease: Option<Value>,
    version: u64,
    uid: u64,
    seconds: u64,
    claims: u64,
}

impl World {
    fn new() -> Self {
        let record = Record::new(Candidate::example(), Timing::default());
        Self { record, lease: None, version: 0, uid: 0, seconds: START, claims: 0 }
    }

    fn at(&self) -> Reading {
        let wall = i64::try_from(self.seconds).expect("small");
        Reading {
            boot: Boottime::from_boot(Duration::from_secs(self.seconds)),
            wall: Timestamp::from_second(1_800_000_000 + wall).expect("within range"),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.seconds += seconds;
    }

    fn typed(&self) -> Option<Lease> {
        self.lease.clone().map(|lease| serde_json::from_value(lease).expect("a Lease"))
    }

    /// Anybody's edit.
    fn edit(&mut self, patch: &Value) {
        self.version += 1;
        let lease =
            self.lease.get_or_insert_with(|| json!({ "metadata": { "uid": format!("u{}", self.uid) } }));
        merge(lease, patch);
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
    }

    fn delete(&mut self) {
        self.lease = None;
        self.uid += 1;
    }

    /// As the crate reads: true for a 404.
    fn read(&mut self) -> (bool, Option<String>) {
        match self.record.read(self.typed(), self.at().boot) {
            Answer::NotFound => (true, None),
            Answer::Lease(lease) => (false, lease.spec.and_then(|spec| spec.holder_identity)),
        }
    }

    fn write(&mut self, spec: &Value) -> Result<Value, Refused> {
        let body = json!({ "spec": spec }).to_string();
        let create = self.lease.is_none();
        let sent = self.record.write(body.as_bytes(), create, self.claims, &self.at())?;
        Ok(serde_json::from_slice(&sent).expect("JSON"))
    }

    /// The server takes the write, if its version fits.
    fn apply(&mut self, sent: &Value) -> bool {
        let version = &sent["metadata"]["resourceVersion"];
        if !version.is_null() && *version != json!(self.version.to_string()) {
            return false;
        }
        self.edit(sent);
        true
    }

    fn answered(&mut self) {
        let (lease, at) = (self.typed().expect("there is one"), self.at());
        self.record.written(&lease, at, at.boot);
    }

    fn acquire(&mut self) {
        self.read();
        let sent = self.write(&taking()).expect("let through");
        assert!(self.apply(&sent));
        self.answered();
    }

    /// Leads since just now, having waited for an absent Lease.
    fn leading() -> Self {
        let mut world = Self::new();
        world.read();
        world.pass(16);
        world.acquire();
        world
    }

    fn epoch_on_lease(&self) -> Option<u64> {
        super::body::epoch_of(&self.typed()?)
    }
}

fn merge(into: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !into.is_object() {
                *into = json!({});
            }
            for (key, value) in fields {
                merge(&mut into[key], value);
            }
        }
        other => *into = other.clone(),
    }
}

fn taking() -> Value {
    json!({ "holderIdentity": "me_1", "leaseDurationSeconds": 15, "acquireTime": "t", "renewTime": "t" })
}

fn renewing() -> Value {
    json!({ "renewTime": "t", "leaseDurationSeconds": 15 })
}

fn held_by_other() -> Value {
    json!({
        "metadata": { "annotations": { "mechanic/epoch": "41", "mechanic/leader-address": "127.0.0.3:7443" } },
        "spec": { "holderIdentity": "other_2", "leaseDurationSeconds": 15, "acquireTime": "2026-01-01T00:00:00.000000Z" },
    })
}

#[test]
fn rule_3_an_absent_lease_is_made_after_a_whole_duration() {
    let mut world = World::new();
    for _ in 0..15 {
        assert_eq!(world.read(), (false, Some("(absent)".into())));
        assert!(matches!(world.write(&taking()), Err(Refused::NotOurs)));
        world.pass(1);
    }
    world.pass(1);
    assert_eq!(world.read(), (true, None));
    let sent = world.write(&taking()).expect("let through");
    assert_eq!(sent["metadata"]["resourceVersion"], Value::Null);
    world.apply(&sent);
    world.answered();
    world.pass(2);
    assert_eq!(world.record.check(&world.at()).map(|permit| permit.epoch), Ok(1));
}

#[test]
fn rule_3_the_last_holder_makes_it_anew_at_once_and_in_its_epoch() {
    let mut world = World::leading();
    world.pass(3);
    world.delete();
    assert_eq!(world.read(), (true, None));
    let sent = world.write(&taking()).expect("let through");
    world.apply(&sent);
    world.answered();
    assert_eq!(world.epoch_on_lease(), Some(1));
    assert_eq!(world.record.check(&world.at()).map(|permit| permit.epoch), Ok(1));
}

#[test]
fn rule_3_but_not_when_others_may_have_led_meanwhile() {
    let mut world = World::leading();
    world.delete();
    world.pass(15);
    assert_eq!(world.read(), (false, Some("(absent)".into())));
    assert!(matches!(world.write(&taking()), Err(Refused::NotOurs)));
    assert!(matches!(world.record.check(&world.at()), Err(NotLeading::Lost { .. })));
}

#[test]
fn rule_5_a_version_is_used_once_and_must_be_fresh() {
    let mut world = World::leading();
    assert!(matches!(world.write(&renewing()), Err(Refused::Unread)));
    world.read();
    let sent = world.write(&renewing()).expect("let through");
    assert_eq!(sent["metadata"]["resourceVersion"], json!("1"));
    assert!(matches!(world.write(&renewing()), Err(Refused::Unread)));
    world.read();
    world.pass(6);
    assert!(matches!(world.write(&renewing()), Err(Refused::Unread)), "a third of the duration has passed");
}

#[test]
fn rule_5_no_write_while_another_leads() {
    let mut world = World::new();
    world.edit(&held_by_other());
    for spec in [taking(), renewing(), json!({ "holderIdentity": "" })] {
        world.read();
        assert!(matches!(world.write(&spec), Err(Refused::NotOurs)), "{spec}");
    }
    world.pass(16);
    for spec in [renewing(), json!({ "holderIdentity": "" })] {
        world.read();
        assert!(matches!(world.write(&spec), Err(Refused::NotOurs)), "free, but not ours: {spec}");
    }
}

#[test]
fn rule_6_a_conflict_voids_the_permit_until_the_next_renewal() {
    let mut world = World::leading();
    world.pass(3);
    world.read();
    let sent = world.write(&renewing()).expect("let through");
    world.edit(&json!({ "metadata": { "annotations": { "stranger": "was here" } } }));
    assert!(!world.apply(&sent));
    world.record.conflict();
    assert_eq!(world.record.check(&world.at()), Err(NotLeading::Contested));
    world.read();
    let sent = world.write(&renewing()).expect("let through");
    assert!(world.apply(&sent));
    world.answered();
    assert!(world.record.check(&world.at()).is_ok());
}

#[test]
fn the_epoch_is_above_everything_ever_seen() {
    for (claims, expected) in [(0, 42), (40, 42), (41, 42), (99, 100)] {
        let mut world = World::new();
        world.claims = claims;
        world.edit(&held_by_other());
        world.read();
        // Remembered by this process, though the Lease no longer says it.
        world.delete();
        world.read();
        world.pass(16);
        world.acquire();
        assert_eq!(world.epoch_on_lease(), Some(expected), "claims up to {claims}");
    }
}

#[test]
fn a_taken_lease_says_where_and_in_which_epoch_and_a_renewal_puts_that_right() {
    let mut world = World::new();
    world.edit(&held_by_other());
    world.read();
    world.pass(16);
    world.acquire();
    let annotations =
        |world: &World| world.typed().and_then(|lease| lease.metadata.annotations).unwrap_or_default();
    assert_eq!(annotations(&world)["mechanic/leader-address"], "127.0.0.2:7443");
    assert_eq!(annotations(&world)["mechanic/epoch"], "42");
    world.read();
    let sent = world.write(&renewing()).expect("let through");
    assert_eq!(sent["metadata"]["annotations"], Value::Null, "a renewal leaves them alone");
    assert!(world.apply(&sent));
    world.answered();
    world.edit(&json!({ "metadata": { "annotations": { "mechanic/epoch": "many" } } }));
    world.read();
    let sent = world.write(&renewing()).expect("let through");
    assert_eq!(sent["metadata"]["annotations"]["mechanic/epoch"], "42");
}

#[test]
fn a_write_whose_answer_never_came_is_ours_when_it_is_seen() {
    let mut world = World::new();
    world.edit(&held_by_other());
    world.read();
    world.pass(16);
    world.read();
    let sent = world.write(&taking()).expect("let through");
    assert!(world.apply(&sent));
    // No answer. Later:
    world.pass(4);
    assert_eq!(world.record.check(&world.at()), Err(NotLeading::Following));
    assert_eq!(world.read().1.as_deref(), Some("me_1"));
    let sent = world.write(&renewing()).expect("let through");
    assert!(world.apply(&sent));
    world.answered();
    world.pass(2);
    assert_eq!(world.record.check(&world.at()).map(|permit| permit.epoch), Ok(42));
}

#[test]
fn our_name_typed_by_hand_over_a_live_leaders_waits_a_whole_duration() {
    let mut world = World::new();
    world.edit(&held_by_other());
    world.read();
    world.pass(10);
    world.edit(&json!({ "spec": { "holderIdentity": "me_1" } }));
    assert_eq!(world.read().1.as_deref(), Some("(another's hand)"));
    assert!(matches!(world.write(&renewing()), Err(Refused::NotOurs)));
    world.pass(16);
    world.acquire();
    world.pass(2);
    assert_eq!(world.record.check(&world.at()).map(|permit| permit.epoch), Ok(42));
}

#[test]
fn who_lost_the_lease_never_takes_it_again() {
    for edit in [
        json!({ "spec": { "holderIdentity": "other_2" } }),
        json!({ "spec": { "holderIdentity": "" } }),
        json!({ "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 } }),
        json!({ "spec": { "acquireTime": "2026-01-01T00:00:00.000000Z" } }),
    ] {
        let mut world = World::leading();
        world.edit(&edit);
        for _ in 0..3 {
            world.read();
            assert!(matches!(world.write(&taking()), Err(Refused::NotOurs)), "{edit}");
            assert!(matches!(world.record.check(&world.at()), Err(NotLeading::Lost { .. })), "{edit}");
            world.pass(100);
        }
    }
}

#[test]
fn without_renewals_the_lease_is_lost_when_its_duration_is_over() {
    let mut world = World::leading();
    world.pass(15);
    world.record.expire(world.at().boot, "no answer");
    assert!(matches!(world.record.check(&world.at()), Err(NotLeading::Lapsed { .. })));
    world.pass(1);
    world.record.expire(world.at().boot, "no answer");
    assert!(matches!(world.record.check(&world.at()), Err(NotLeading::Lost { .. })));
}

#[test]
fn stepping_down_ends_the_permit_first_and_leaves_the_lease_free() {
    let mut world = World::leading();
    world.pass(3);
    assert!(world.record.check(&world.at()).is_ok());
    world.record.step_down();
    assert_eq!(world.record.check(&world.at()), Err(NotLeading::SteppingDown));
    world.read();
    let sent = world
        .write(
            &json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": "t", "renewTime": "t" }),
        )
        .expect("let through");
    assert!(world.apply(&sent));
    world.answered();
    assert!(matches!(world.record.check(&world.at()), Err(NotLeading::Lost { .. })));
    // To a follower it is free at once.
    let mut follower = World { record: World::new().record, ..world };
    follower.read();
    follower.write(&taking()).expect("let through");
}

#[test]
fn an_earlier_run_of_this_pod_is_no_leader_that_anybody_could_be_sent_to() {
    let mut world = World::leading();
    let held = world.typed();
    // The container is started again: the same address, another holder.
    world.record =
        Record::new(Candidate { holder: "me_2".into(), ..Candidate::example() }, Timing::default());
    world.record.watched(held.as_ref(), world.at().boot);
    assert_eq!(world.record.leader(), None);
    world.record = Record::new(
        Candidate { address: "127.0.0.3:7443".into(), ..Candidate::example() },
        Timing::default(),
    );
    world.record.watched(held.as_ref(), world.at().boot);
    assert_eq!(world.record.leader().map(|leader| leader.address.as_str()), Some("127.0.0.2:7443"));
}

#[test]
fn what_a_watch_shows_ages_the_lease_but_is_never_written_against() {
    let mut world = World::new();
    world.edit(&held_by_other());
    let (seen, at) = (world.typed(), world.at().boot);
    world.record.watched(seen.as_ref(), at);
    assert_eq!(world.record.leader().map(|leader| leader.epoch), Some(41));
    world.pass(16);
    assert!(matches!(world.write(&taking()), Err(Refused::Unread)));
    world.acquire();
}

#[test]
fn who_takes_a_lease_that_was_given_back_may_write_sooner() {
    let wait = |freed: &Value, pass| {
        let mut world = World::new();
        world.edit(&held_by_other());
        world.read();
        world.edit(freed);
        world.read();
        world.pass(pass);
        world.acquire();
        match world.record.check(&world.at()) {
            Err(NotLeading::TooSoon { remaining }) => remaining,
            other => panic!("{other:?}"),
        }
    };
    let given_back = json!({ "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 } });
    assert_eq!(wait(&given_back, 0), Duration::from_secs(1));
    let emptied = json!({ "spec": { "holderIdentity": "" } });
    assert_eq!(wait(&emptied, 16), Duration::from_secs(2));
}
