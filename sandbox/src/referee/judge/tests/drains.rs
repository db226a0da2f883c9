//! When a drain begins and when it ends: so many at once.

use super::*;

/// The first of two pods of n1 is evicted for its event; n2 has one.
fn begun() -> Run {
    let mut run = Run::new();
    run.pod(0.1, "cart-1", "n1");
    run.pod(0.1, "cart-2", "n1");
    run.pod(0.1, "other-1", "n2");
    run.announce(10.0);
    run.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
    run.evict(11.0, LEADER, "cart-1", 201);
    run
}

#[test]
fn a_second_drain_before_the_last_pod_is_gone_is_one_too_many() {
    let second = |seconds| {
        let mut run = honest();
        run.write(11.2, Some(LEADER), "n2", true, Some(&["EVENT-2"]));
        run.evict(seconds, LEADER, "other-1", 201);
        run.gone(seconds + 0.2, "other-1");
        run.write(33.0, Some(LEADER), "n2", false, None);
        released(run, 34.0)
    };
    second(14.0).breaks(Check::TooManyDrains);
    assert_eq!(second(16.1).verdict().broken(), []);
}

#[test]
fn with_its_node_a_drain_ends_and_an_eviction_may_be_on_its_way_still() {
    let deleted = |evicted: f64| {
        let mut run = begun();
        run.add(12.0, Fact::NodeGone("n1".into()));
        run.node(12.1, "n1", true);
        run.evict(evicted, LEADER, "cart-2", 201);
        run.lease(14.0, LEADER);
        run.lease(19.0, LEADER);
        run.lease(24.0, LEADER);
        run.lease(32.0, LEADER);
        run.write(20.2, Some(LEADER), "n2", true, Some(&["EVENT-2"]));
        run.evict(20.5, LEADER, "other-1", 201);
        run.gone(21.0, "other-1");
        run.gone(30.0, "cart-1");
        run.gone(30.0, "cart-2");
        run.write(33.0, Some(LEADER), "n2", false, None);
        run.verdict()
    };
    assert_eq!(deleted(12.3).broken(), []);
    assert!(deleted(19.0).broken().contains(&Check::NodeNotClaimed));
}

#[test]
fn a_node_that_comes_back_is_drained_anew() {
    let mut run = begun();
    run.gone(12.0, "cart-1");
    run.lease(12.0, LEADER);
    // Between the two drains of nodes called n1, another node has its turn.
    run.write(13.0, Some(LEADER), "n2", true, Some(&["EVENT-2"]));
    run.evict(13.5, LEADER, "other-1", 201);
    run.gone(14.0, "other-1");
    run.write(20.0, Some(LEADER), "n2", false, None);
    run.add(21.0, Fact::NodeGone("n1".into()));
    run.version += 1;
    let version = run.version;
    let other =
        NodeSeen { name: "n1".into(), uid: "another".into(), version, ready: true, ..NodeSeen::default() };
    run.add(22.0, Fact::Node(other));
    run.lease(26.0, LEADER);
    run.evict(30.0, LEADER, "cart-2", 201);
    run.gone(31.0, "cart-2");
    let verdict = run.verdict();
    assert!(!verdict.broken().contains(&Check::TooManyDrains), "{verdict}");
    assert_eq!(verdict.facts.drains.len(), 3, "{verdict}");
}

/// n1 is drained for an event, then n2, then what is left on n1; in between happens what `meanwhile` does.
fn drained_in_two_goes(refused: bool, meanwhile: impl FnOnce(&mut Run)) -> Verdict {
    let mut run = begun();
    run.announce_event(10.0, "n2", &announced("Reboot", "EVENT-2"));
    run.write(10.6, Some(LEADER), "n2", true, Some(&["EVENT-2"]));
    run.gone(12.0, "cart-1");
    if refused {
        run.evict(12.1, LEADER, "cart-2", 429);
    }
    run.lease(12.5, LEADER);
    run.evict(14.0, LEADER, "other-1", 201);
    run.gone(15.0, "other-1");
    meanwhile(&mut run);
    run.evict(20.0, LEADER, "cart-2", 201);
    run.gone(21.0, "cart-2");
    run.verdict()
}

#[test]
fn a_drain_that_had_to_stop_or_was_through_is_over_and_the_next_is_another() {
    let third = announced("Reboot", "EVENT-3");
    let one = |verdict: &Verdict| verdict.broken().contains(&Check::TooManyDrains);
    // Nothing says that the first has ended, only that its budget makes it wait.
    assert!(one(&drained_in_two_goes(true, |_| {})));
    assert!(one(&drained_in_two_goes(false, |_| {})));
    assert!(one(&drained_in_two_goes(true, |run| run.announce_event(17.0, "n1", &third))));
    // It was through before another event came.
    assert!(!one(&drained_in_two_goes(false, |run| run.announce_event(17.0, "n1", &third))));
    // Its event vanished, or somebody said stop.
    let vanished = |run: &mut Run| {
        run.azure(13.0, AzureFact::Removed { event: EVENT.into() });
        run.announce_event(17.0, "n1", &third);
    };
    assert!(!one(&drained_in_two_goes(true, vanished)));
    let paused = |run: &mut Run| {
        run.configure(13.0, &[("paused", "true")]);
        run.configure(17.0, &[]);
    };
    assert!(!one(&drained_in_two_goes(true, paused)));
    assert!(!one(&drained_in_two_goes(true, |run| run.write(13.0, None, "n1", false, Some(&[EVENT])))));
    // Its claim said that it was set aside: held, and not drained.
    let set_aside = |run: &mut Run| run.write(13.0, Some(LEADER), "n1", true, Some(&[EVENT]));
    assert!(!one(&drained_in_two_goes(true, set_aside)));
    // The other one begins while this one waits; the second go is the one too many then.
    let overlapping = drained_in_two_goes(true, |run| {
        run.azure(13.0, AzureFact::Removed { event: EVENT.into() });
        run.announce_event(17.0, "n1", &third);
        run.evict(19.0, LEADER, "other-2", 201);
        run.pod(0.1, "other-2", "n2");
        run.gone(22.0, "other-2");
    });
    assert!(one(&overlapping));
}
