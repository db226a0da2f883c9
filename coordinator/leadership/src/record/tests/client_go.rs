//! client-go's tests of its elector (`leaderelection_test.go`), by their names, as far as they are about the Lease: here
//! the library asks and the guard decides, so an update is a read and a write against its version.

use super::*;

const TRY_ACQUIRE_OR_RENEW: &str = "TestTryAcquireOrRenew";

/// Whether this candidate leads after one try.
fn try_acquire_or_renew(world: &mut World) -> bool {
    world.read();
    let spec = if world.record.epoch().is_some() { renewing() } else { taking() };
    let Ok(sent) = world.write(&spec) else { return false };
    if !world.apply(&sent) {
        world.record.conflict();
        return false;
    }
    world.answered();
    world.record.epoch().is_some()
}

fn record(spec: &Value) -> World {
    let mut world = World::new();
    world.edit(&json!({ "spec": spec }));
    world
}

/// Every case but the first: (name, the Lease, seconds since it was seen first, whether it is acquired).
#[test]
fn test_try_acquire_or_renew() {
    let led = json!({ "holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z" });
    let unled = json!({ "holderIdentity": "", "leaseDurationSeconds": 15 });
    let released = json!({ "holderIdentity": "", "leaseDurationSeconds": 1 });
    for (name, spec, seen_for, acquired) in [
        ("acquire from object without annotations", json!({}), 16, true),
        ("acquire from unled object", unled.clone(), 16, true),
        // client-go takes it at once; here it could have been emptied by hand under a leader whose Permit holds.
        ("unled, but not by a step-down", unled, 0, false),
        ("acquire from led, unacked object", led.clone(), 16, true),
        ("acquire from empty led, acked object", released, 0, true),
        ("don't acquire from led, acked object", led, 14, false),
    ] {
        let mut world = record(&spec);
        world.read();
        world.pass(seen_for);
        assert_eq!(try_acquire_or_renew(&mut world), acquired, "{TRY_ACQUIRE_OR_RENEW}/{name}");
        assert_eq!(
            world.typed().unwrap().spec.unwrap().holder_identity.as_deref() == Some("me_1"),
            acquired,
            "{name}"
        );
    }
}

#[test]
fn test_try_acquire_or_renew_acquire_from_no_object() {
    let mut world = World::new();
    world.read();
    assert!(!try_acquire_or_renew(&mut world), "it may have been deleted under a leader");
    world.pass(16);
    assert!(try_acquire_or_renew(&mut world));
    assert_eq!(world.typed().unwrap().spec.unwrap().lease_transitions, Some(1));
}

#[test]
fn test_try_acquire_or_renew_renew_already_acquired_object() {
    let mut world = World::leading();
    let transitions = world.typed().unwrap().spec.unwrap().lease_transitions;
    for _ in 0..3 {
        world.pass(4);
        assert!(try_acquire_or_renew(&mut world));
    }
    let spec = world.typed().unwrap().spec.unwrap();
    assert_eq!(spec.lease_transitions, transitions, "a renewal is no transition");
    assert!(world.record.check(&world.at()).is_ok());
}

/// client-go's fast path renews without reading, and falls back to a read where that fails. Here each renewal reads
/// first, so a write that fails costs the Permit until the next read and write have succeeded.
#[test]
fn test_fast_path_leader_election() {
    let mut world = World::leading();
    world.pass(4);
    world.read();
    let first = world.write(&renewing()).expect("let through");
    world.edit(&json!({ "spec": { "renewTime": "somebody else's" } }));
    assert!(!world.apply(&first));
    world.record.conflict();
    assert!(world.record.check(&world.at()).is_err());
    world.edit(&json!({ "spec": { "renewTime": null } }));
    assert!(try_acquire_or_renew(&mut world));
    assert!(world.record.check(&world.at()).is_ok());
}

fn release(world: &mut World) -> Result<Value, Refused> {
    world.record.step_down();
    world.read();
    world.write(&json!({ "holderIdentity": "", "leaseDurationSeconds": 1 }))
}

#[test]
fn test_release_lease() {
    let mut world = World::leading();
    let sent = release(&mut world).expect("let through");
    assert!(world.apply(&sent));
    world.answered();
    let spec = world.typed().unwrap().spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some(""), Some(1)));
    assert!(world.record.check(&world.at()).is_err());
}

#[test]
fn test_release_lease_release_from_no_object() {
    let mut world = World::leading();
    world.delete();
    world.pass(16);
    assert!(release(&mut world).is_err(), "nothing is made only to give it back");
}

#[test]
fn test_release_lease_release_conflict_is_retried() {
    let mut world = World::leading();
    let first = release(&mut world).expect("let through");
    world.edit(&json!({ "metadata": { "annotations": { "stranger": "was here" } } }));
    assert!(!world.apply(&first));
    world.record.conflict();
    let second = release(&mut world).expect("let through");
    assert!(world.apply(&second));
}

/// Cancelled while the update, or the read before it, is under way: no Permit from the moment of the cancellation.
#[test]
fn test_release_on_cancellation() {
    for answered in [false, true] {
        let mut world = World::leading();
        world.pass(4);
        world.read();
        let renewal = world.write(&renewing()).expect("let through");
        world.record.step_down();
        assert_eq!(world.record.check(&world.at()), Err(NotLeading::SteppingDown));
        if answered {
            assert!(world.apply(&renewal));
            world.answered();
        }
        assert_eq!(
            world.record.check(&world.at()),
            Err(NotLeading::SteppingDown),
            "a late answer gives no Permit"
        );
        let sent = release(&mut world).expect("let through");
        assert!(world.apply(&sent));
    }
}

#[test]
fn test_leader_election_config_validation() {
    let ms = Duration::from_millis;
    let valid = |lease, renew, permit| Timing::new(ms(lease), ms(renew), ms(permit), ms(2000)).is_ok();
    for (name, lease, renew, permit, ok) in [
        ("valid config", 15_000, 4000, 10_000, true),
        ("leaseDuration must be greater than renewDeadline", 10_000, 4000, 10_000, false),
        ("renewDeadline must be greater than retryPeriod*JitterFactor", 15_000, 6000, 10_000, false),
        ("leaseDuration must be greater than zero", 0, 4000, 10_000, false),
        ("renewDeadline must be greater than zero", 15_000, 4000, 0, false),
        ("retryPeriod must be greater than zero", 15_000, 0, 10_000, false),
    ] {
        assert_eq!(valid(lease, renew, permit), ok, "{name}");
    }
    let nobody =
        Candidate { holder: String::new(), address: "a:1".into(), namespace: "n".into(), lease: "l".into() };
    assert!(nobody.validate().is_err(), "Lock identity is empty");
}
