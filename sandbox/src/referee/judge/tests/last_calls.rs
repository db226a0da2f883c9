//! A DELETE of a pod is a last call that people have allowed, or a broken promise.

use super::*;

/// A pod with 5 s of grace on a claimed node whose VM is destroyed in the twentieth second, deleted in that second.
fn deleted(seconds: f64, allowed: &str, event_type: &str, body: Value) -> Run {
    let mut run = Run::new();
    run.configure(0.1, &[("last-call", allowed)]);
    let held = PodSeen { grace: Duration::from_secs(5), ..pod("cart-1", "n1") };
    run.add(0.2, Fact::Pod(held));
    // As many are healthy as must be.
    run.add(0.3, healthy(2));
    run.announce_event(10.0, "n1", &announced(event_type, EVENT));
    run.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
    let delete = Request {
        namespace: "shop".into(),
        body: Some(body),
        ..asked(seconds, Some(LEADER), "delete", "pods", "cart-1")
    };
    run.request(seconds, delete);
    run.gone(seconds + 1.0, "cart-1");
    run
}

fn body() -> Value {
    json!({ "gracePeriodSeconds": 4, "preconditions": { "uid": uid("cart-1") } })
}

#[test]
fn a_last_call_that_people_have_allowed_breaks_nothing() {
    let verdict = deleted(16.0, "Preempt, Terminate", "Terminate", body()).verdict();
    assert!(!verdict.broken().contains(&Check::PodDeleted), "{verdict}");
    assert_eq!(verdict.facts.last_calls, 1);
}

#[test]
fn any_other_delete_breaks_a_promise() {
    let grace =
        |seconds: u64| json!({ "gracePeriodSeconds": seconds, "preconditions": { "uid": uid("cart-1") } });
    for (name, run) in [
        ("not allowed", deleted(16.0, "", "Terminate", body())),
        ("for another type", deleted(16.0, "Preempt", "Terminate", body())),
        ("the VM comes back", deleted(16.0, "Preempt,Terminate", "Reboot", body())),
        ("too early", deleted(11.0, "Terminate", "Terminate", body())),
        ("no budget holds it", {
            let mut run = deleted(16.0, "Terminate", "Terminate", body());
            run.history.records.retain(|record| !matches!(record.fact, Fact::Budget(_)));
            run
        }),
        ("no grace", deleted(16.0, "Terminate", "Terminate", grace(0))),
        ("no UID", deleted(16.0, "Terminate", "Terminate", json!({ "gracePeriodSeconds": 4 }))),
    ] {
        assert!(run.verdict().broken().contains(&Check::PodDeleted), "{name}");
    }
}
