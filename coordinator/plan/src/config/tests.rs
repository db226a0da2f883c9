use super::*;

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_key_is_read() {
    let text = data(&[
        ("paused", "true"),
        ("dry-run", "true"),
        ("lead-time", "1h30m"),
        ("max-cordoned", "30%"),
        ("max-concurrent-drains", "25%"),
        ("max-unavailable-nodes", "7"),
        ("emergency-concurrent-drains", "40%"),
        ("set-aside-after", "90s"),
        ("last-call", "Preempt, Terminate"),
        ("release-hold", "3s"),
        ("release-hold-never-started", "5s"),
        ("release-hold-after-boot", "8s"),
        ("release-hold-after-terminate", "20m"),
        ("log-level", "debug"),
        ("policy.yaml", "pods: [{unmanaged: Leave}]"),
    ]);
    let (config, accepted, refusals) = Config::read(&text, &Accepted::new());
    assert_eq!(refusals, []);
    assert_eq!(accepted, text);
    assert_eq!(
        config,
        Config {
            paused: true,
            dry_run: true,
            lead_time: Duration::from_mins(90),
            max_cordoned: Amount::Percent(30),
            max_concurrent_drains: Amount::Percent(25),
            max_unavailable_nodes: Amount::Number(7),
            emergency_concurrent_drains: Amount::Percent(40),
            set_aside_after: Duration::from_secs(90),
            last_call: [EventType::Preempt, EventType::Terminate].into(),
            release_hold: Duration::from_secs(3),
            release_hold_never_started: Duration::from_secs(5),
            release_hold_after_boot: Duration::from_secs(8),
            release_hold_after_terminate: Duration::from_mins(20),
            log_level: LogLevel::Debug,
            policy: Arc::new(Policy::parse("pods: [{unmanaged: Leave}]").unwrap()),
        }
    );
}

#[derive(serde::Deserialize)]
struct Installed {
    data: BTreeMap<String, String>,
}

#[test]
fn the_config_map_that_is_installed_sets_every_key_to_its_default() {
    let installed = include_str!("../../../../deploy/coordinator/config-map.yaml");
    let installed: Installed = serde_saphyr::from_str(installed).unwrap();
    let (config, _, refusals) = Config::read(&installed.data, &Accepted::new());
    assert_eq!((config, refusals), (Config::default(), vec![]));
    let keys: BTreeSet<&str> = installed.data.keys().map(String::as_str).collect();
    assert_eq!(keys, KEYS.into(), "what is installed names each key");
}

#[test]
fn in_brief_is_what_people_have_set_as_they_write_it() {
    let policy = "events: [{respond: Cordon}]\nbudgets: [{name: b, maxCordoned: 1}]\npods: [{unmanaged: Leave}]\noptOutLabel: example.com/no";
    let text = data(&[
        ("dry-run", "false"),
        ("lead-time", "20m"),
        ("max-cordoned", "50%"),
        ("max-concurrent-drains", "2"),
        ("last-call", "Preempt, Terminate"),
        ("policy.yaml", policy),
    ]);
    assert_eq!(
        Config::in_brief(&text),
        "last-call=Preempt, Terminate; lead-time=20m; max-concurrent-drains=2; policy.yaml (rules: 4)"
    );
    assert_eq!(Config::in_brief(&data(&[("lead-time", "600s"), ("policy.yaml", "")])), "the defaults");
}

#[test]
fn a_bad_value_keeps_what_was_accepted_and_hurts_no_other_key() {
    let before = data(&[("max-concurrent-drains", "4"), ("dry-run", "true")]);
    for bad in ["0", "-1", "+1", "0%", "101%", "two", "", "1.5", "99999999999999999999999"] {
        let now = data(&[("max-concurrent-drains", bad), ("lead-time", "10m"), ("dry-run", "yes")]);
        let (config, accepted, refusals) = Config::read(&now, &before);
        assert_eq!(config.max_concurrent_drains, Amount::Number(4), "{bad}");
        assert_eq!(config.lead_time, Duration::from_mins(10), "{bad}");
        assert!(config.dry_run, "a slip of the pen ends a dry run");
        assert_eq!(refusals.len(), 2, "{bad}");
        assert_eq!(accepted["max-concurrent-drains"], "4", "{bad}");
        assert!(refusals.iter().all(|refusal| refusal.holds == Holds::Accepted), "{bad}");
        // Whoever reads the same with what is in force now gets the same.
        assert_eq!(Config::read(&now, &accepted).0, config);
    }
}

#[test]
fn a_bad_value_with_nothing_accepted_has_its_default() {
    let (config, accepted, refusals) = Config::read(&data(&[("lead-time", "soon")]), &Accepted::new());
    assert_eq!((config, accepted.len(), refusals.len()), (Config::default(), 0, 1));
    assert_eq!(refusals[0].holds, Holds::Default);
}

#[test]
fn an_unknown_key_is_refused_alone_and_a_removed_one_returns_to_its_default() {
    let before = data(&[("max-concurrent-drains", "4")]);
    let (config, accepted, refusals) = Config::read(&data(&[("max-drains", "3")]), &before);
    assert_eq!((config, accepted), (Config::default(), Accepted::new()));
    assert_eq!((refusals[0].key.as_str(), refusals[0].holds), ("max-drains", Holds::Nothing));
}
