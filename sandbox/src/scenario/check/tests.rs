//! Scripts with one thing wrong: each is refused with its line and with what would be right.

use crate::scenario::Scenario;

/// A script of 17 lines with these steps, which begin in line 18.
fn script(steps: &str) -> String {
    let head = "\
title: a script
pools:
  - name: apps
    nodes: 4
  - name: spot
    nodes: 2
    spot: true
workloads:
  - { kind: deployment, name: cart, replicas: 3, max-unavailable: 1 }
  - { kind: deployment, name: plain, replicas: 3 }
config:
  max-concurrent-drains: 2
  paused: false
expect:
  given-back-within: 60s
  must-happen: [leader-changes]
steps:
";
    format!("{head}{steps}")
}

#[track_caller]
fn refused(text: &str, line: u64, right: &str) {
    let error = Scenario::read("afternoon.yaml", text).unwrap_err().to_string();
    assert!(error.starts_with("afternoon.yaml is no scenario: "), "{error}");
    assert!(error.contains(&format!("line {line}")), "not line {line}: {error}");
    assert!(error.contains(right), "{error}");
}

#[track_caller]
fn refused_step(action: &str, right: &str) {
    let announced =
        "  - { at: 0s, do: [announce: { event: reboot, type: Reboot, on: apps/0, notice: 30s }] }\n";
    refused(&script(&format!("{announced}  - {{ at: 10s, do: [{action}] }}\n")), 19, right);
}

#[test]
fn a_script_that_makes_sense_is_read() {
    let steps = r#"  - at: 0s
    do:
      - pick: { node: apps/without-coordinator, as: victim }
      - announce: { event: reboot, type: Reboot, on: victim, notice: 30s, duration: unknown }
      - fault: { name: slow, requests: { from: leader, method: PATCH }, effect: { delay: 2s }, times: 1 }
      - stop: { probe: apps/1 }
      - imds: { on: apps/2, answers: { slow: 5s } }
      - imds: { on: apps/2, answers: broken-json }
      - configure: { max-concurrent-drains: 3, paused: null }
      - label: { on: apps/3, labels: { mechanic/opt-out: "true" } }
  - at: 30s
    do:
      - cut-watches
      - try: { kill: follower }
      - continue: { probe: apps/1 }
      - wait-for: { held: reboot, within: 5s }
      - start: reboot
      - kill-api-server: 12s
      - power-off: [victim, spot/all]
"#;
    let scenario = Scenario::read("afternoon.yaml", &script(steps)).unwrap();
    assert_eq!(scenario.config["max-concurrent-drains"], "2");
    assert_eq!(scenario.actions().count(), 15);
}

#[test]
fn what_isnt_known_is_refused_where_it_stands() {
    refused(&script("  - { at: 0s, do: [explode: apps/0] }\n"), 18, "explode");
    refused(&script("  - { at: 0s, do: [cut-watches], speed: 3 }\n"), 18, "speed");
    refused(&script("  - { at: soon, do: [cut-watches] }\n"), 18, "such as 90s");
    refused(&script("  - { at: 0s, do: [power-off: apps/x] }\n"), 18, "write apps/3");
    refused(&script("").replace("nodes: 4", "nodes: 4\n    zone: 2"), 5, "zone");
    refused_step("announce: { event: e, type: Rebot, on: apps/1 }", "Reboot");
    refused_step("imds: { on: apps/1, answers: rude }", "broken-json");
}

#[test]
fn names_must_be_given_before_they_are_used() {
    refused_step("start: rebot", "there is: reboot");
    refused_step("power-off: nobody", "there is: reboot");
    refused_step("power-off: apps/4", "apps/0 to apps/3");
    refused_step("power-off: ops/0", "there are: apps, spot");
    refused_step("remove: reboot, start: reboot", "there is none at this point");
    refused_step("release-fault: slow", "there is none at this point");
    refused_step("wait-for: { fault: slow }", "there is none at this point");
    refused_step("set-budget: { workload: carts, max-unavailable: 1 }", "there is: cart, plain");
    refused_step("set-budget: { workload: plain, max-unavailable: 1 }", "no budget to begin with");
    refused_step("announce: { event: reboot, type: Reboot, on: apps/1 }", "taken already");
    refused_step("continue: leader", "never stopped");
    refused_step("unmute: apps/1", "never muted");
    refused_step("try: { power-off: nobody }", "there is: reboot");
    refused_step("try: { wait-for: { held: reboot } }", "no trying");
}

#[test]
fn azure_keeps_its_word_and_steps_their_order() {
    refused_step("start: reboot", "may not start before 30s");
    refused_step("announce: { event: e, type: Reboot, on: [apps/1, spot/0] }", "one pool");
    refused_step("announce: { event: e, type: Reboot, on: apps/1, started: true, notice: 5s }", "no notice");
    refused_step("announce: { event: e, on: apps/1 }", "Freeze, Reboot");
    let backwards = "  - { at: 10s, do: [cut-watches] }\n  - { at: 5s, do: [cut-watches] }\n";
    refused(&script(backwards), 19, "order them by time");
}

#[test]
fn workloads_and_expectations_are_checked_too() {
    let without = |wrong: &str| script("").replace("name: plain, replicas: 3", wrong);
    refused(&without("name: plain"), 10, "needs `replicas`");
    refused(&without("name: cart, replicas: 3"), 10, "already");
    refused(&without("name: plain, replicas: 3, pool: ops"), 10, "there are: apps, spot");
    refused(&without("name: plain, replicas: 3, min-available: many"), 10, "a share such as 25%");
    refused(&without("name: plain, replicas: 3, min-available: 1, max-unavailable: 1"), 10, "not both");
    let expecting = |wrong: &str| script("").replace("[leader-changes]", wrong);
    refused(&expecting("[{ held: of-the-leader }]"), 15, "`pick` it before");
    refused(&expecting("[{ held: apps/9 }]"), 15, "out of range");
    refused(&expecting("[{ drains-at-once: 0 }]"), 15, "from 1");
}
