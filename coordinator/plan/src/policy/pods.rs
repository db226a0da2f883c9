//! Rules for pods that would lose something by leaving: by event type, node, namespace and label.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    labels::{LabelSelector, Labels, is_dns_label},
    nodes::{NodeSelector, Nodes, Pools, Zones},
    rules::{self, KnownEvent, Named, Rule, WrittenRules, Wrong, present},
};
use crate::{
    event::EventType,
    fleet::Node,
    pods::{Pod, Verdict},
};

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Fate {
    /// It is never moved.
    Stay,
    /// It stays until the latest safe start, and is evicted then.
    Wait,
    /// It is evicted as any other pod.
    Leave,
}

/// What becomes of a pod where it would lose something by leaving; where more than one is true of it, the strictest
/// counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fates {
    /// No controller would bring it back elsewhere.
    pub unmanaged: Fate,
    /// It has an `emptyDir`, which an eviction deletes.
    pub empty_dir: Fate,
    /// It asks by an annotation not to be moved.
    pub annotated: Fate,
    /// Whether a last call may delete it, where those are allowed.
    pub last_call: bool,
}

/// The rules for pods of all nodes, no two of which say different things of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRules {
    rules: Vec<Arc<PodRule>>,
}

/// What people have decided of the pods of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPolicy {
    rules: Vec<Arc<PodRule>>,
}

pub(super) type WrittenPodRules = WrittenRules<WrittenPodRule>;

/// What becomes of pods that would lose something by leaving. At least one of `unmanaged`, `emptyDir`, `annotated` and
/// `lastCall`; what is absent of them stays as it is.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "PodRule", extend("anyOf" = [{"required": ["unmanaged"]}, {"required": ["emptyDir"]}, {"required": ["annotated"]}, {"required": ["lastCall"]}])))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenPodRule {
    /// Types of events; where a node has several, the costliest counts. Absent: all.
    #[cfg_attr(test, schemars(extend("minItems" = 1)))]
    #[serde(default, deserialize_with = "present")]
    events: Option<Vec<KnownEvent>>,
    #[serde(default)]
    pools: Pools,
    #[serde(default)]
    zones: Zones,
    #[serde(default)]
    node_selector: NodeSelector,
    /// Names of namespaces. Absent: all.
    #[cfg_attr(test, schemars(extend("minItems" = 1)))]
    #[serde(default, deserialize_with = "present")]
    namespaces: Option<Vec<String>>,
    /// Labels of pods. Absent: all pods.
    #[serde(default, deserialize_with = "present")]
    pod_selector: Option<LabelSelector>,
    /// What becomes of a pod that no controller would bring back elsewhere. Absent: Stay on Freeze and Reboot, which it
    /// outlives; else Leave.
    #[serde(default, deserialize_with = "present")]
    unmanaged: Option<Fate>,
    /// Of a pod with an `emptyDir`, which an eviction deletes. Absent: Stay on Freeze and Reboot, which keep it; else
    /// Leave.
    #[serde(default, deserialize_with = "present")]
    empty_dir: Option<Fate>,
    /// Of a pod that asks not to be moved: `cluster-autoscaler.kubernetes.io/safe-to-evict: "false"`,
    /// `karpenter.sh/do-not-disrupt: "true"`. Absent: Stay on Freeze and Reboot; else Wait.
    #[serde(default, deserialize_with = "present")]
    annotated: Option<Fate>,
    /// Whether a last call may delete the pod, where `last-call` of the ConfigMap allows one. Absent: true.
    #[serde(default, deserialize_with = "present")]
    last_call: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PodRule {
    line: u64,
    events: Named<EventType>,
    nodes: Nodes,
    namespaces: Named<String>,
    labels: Labels,
    unmanaged: Option<Fate>,
    empty_dir: Option<Fate>,
    annotated: Option<Fate>,
    last_call: Option<bool>,
}

impl PodRules {
    /// Takes the rules, or says which of them makes no sense.
    pub(super) fn of(written: WrittenPodRules) -> Result<Self, String> {
        Ok(Self { rules: rules::read(written)?.into_iter().map(Arc::new).collect() })
    }

    /// For the pods of which nodes each rule is, with its line.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u64, &Nodes)> {
        self.rules.iter().map(|rule| (rule.line, &rule.nodes))
    }

    /// Those that are for the pods of `node`.
    #[must_use]
    pub fn on(&self, node: &Node) -> PodPolicy {
        let rules = self.rules.iter().filter(|rule| rule.nodes.contain(node));
        PodPolicy { rules: rules.cloned().collect() }
    }
}

impl PodPolicy {
    /// What becomes of `pod` on `event`.
    #[must_use]
    pub fn fates(&self, pod: &Pod, event: EventType) -> Fates {
        let mut fates = Fates::usual(event);
        for rule in self.about(pod, event) {
            fates.unmanaged = rule.unmanaged.unwrap_or(fates.unmanaged);
            fates.empty_dir = rule.empty_dir.unwrap_or(fates.empty_dir);
            fates.annotated = rule.annotated.unwrap_or(fates.annotated);
            fates.last_call = rule.last_call.unwrap_or(fates.last_call);
        }
        fates
    }

    /// The rule that keeps `pod` on `event`, as that verdict has it, where one does: as a sentence.
    #[must_use]
    pub fn kept_by(&self, pod: &Pod, event: EventType, verdict: Verdict) -> Option<String> {
        let says = |rule: &PodRule| match verdict {
            Verdict::Unmanaged => rule.unmanaged,
            Verdict::EmptyDir => rule.empty_dir,
            Verdict::Protected => rule.annotated,
            Verdict::ProtectedForNow => {
                let mut said = [
                    rule.unmanaged.filter(|_| pod.controller.is_none()),
                    rule.empty_dir.filter(|_| pod.empty_dir),
                    rule.annotated.filter(|_| pod.asks_to_stay),
                ]
                .into_iter()
                .flatten();
                said.find(|fate| *fate == Fate::Wait)
            }
            _ => None,
        };
        self.about(pod, event).find_map(|rule| {
            says(rule).map(|fate| format!("the rule at line {} of policy.yaml says {fate:?}", rule.line))
        })
    }

    fn about(&self, pod: &Pod, event: EventType) -> impl Iterator<Item = &PodRule> {
        self.rules.iter().map(Arc::as_ref).filter(move |rule| rule.matches(pod, event))
    }
}

impl Fates {
    /// Where the machine keeps its disks, what would lose something by leaving stays; where it doesn't, staying saves
    /// nothing but time.
    fn usual(event: EventType) -> Self {
        let (kept, asked) =
            if event.keeps_disks() { (Fate::Stay, Fate::Stay) } else { (Fate::Leave, Fate::Wait) };
        Self { unmanaged: kept, empty_dir: kept, annotated: asked, last_call: true }
    }
}

impl PodRule {
    fn matches(&self, pod: &Pod, event: EventType) -> bool {
        self.events.contains(&event)
            && self.namespaces.contains(&pod.namespace)
            && self.labels.match_all(&pod.labels)
    }
}

impl Rule for PodRule {
    type Written = WrittenPodRule;
    const APART_BY: &'static str = "events, pools, zones, namespaces or labels";

    fn of(written: WrittenPodRule, line: u64) -> Result<Self, Wrong> {
        let WrittenPodRule {
            events,
            pools,
            zones,
            node_selector,
            namespaces,
            pod_selector,
            unmanaged,
            empty_dir,
            annotated,
            last_call,
        } = written;
        let rule = Self {
            line,
            events: Named::of(events)?,
            nodes: Nodes::of(pools, zones, node_selector)?,
            namespaces: Named::of(namespaces)?,
            labels: pod_selector.map(Labels::of).transpose()?.unwrap_or_default(),
            unmanaged,
            empty_dir,
            annotated,
            last_call,
        };
        if rule.says().is_empty() {
            return Err(
                "a rule says nothing: give it `unmanaged`, `emptyDir` or `annotated`, as Stay, Wait or \
                        Leave, or `lastCall`"
                    .to_owned()
                    .into(),
            );
        }
        if let Some(name) = rule.namespaces.names().find(|name| !is_dns_label(name)) {
            return Err(format!("`{name}` is no name that a namespace can have").into());
        }
        Ok(rule)
    }

    fn is_apart_from(&self, other: &Self) -> bool {
        self.events.is_apart_from(&other.events)
            || self.nodes.are_apart_from(&other.nodes)
            || self.namespaces.is_apart_from(&other.namespaces)
            || self.labels.are_apart(&other.labels)
    }

    fn says(&self) -> Vec<(&'static str, String)> {
        let said = [
            ("unmanaged", self.unmanaged.map(|fate| format!("{fate:?}"))),
            ("emptyDir", self.empty_dir.map(|fate| format!("{fate:?}"))),
            ("annotated", self.annotated.map(|fate| format!("{fate:?}"))),
            ("lastCall", self.last_call.map(|may| may.to_string())),
        ];
        said.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, parts) in [
            ("pods:\n- emptyDirs: Stay", &["line 2", "emptyDirs", "emptyDir"] as &[&str]),
            ("pods:\n- emptyDir: stay", &["line 2", "stay", "`Stay`, `Wait`, `Leave`"]),
            ("pods:\n- events: [Rebot]\n  emptyDir: Stay", &["line 2", "Rebot", "Reboot"]),
            ("pods:\n- events: Reboot\n  emptyDir: Stay", &["line 2"]),
            ("pods:\n- events: [Reboot]", &["line 2", "says nothing"]),
            ("pods:\n- events: []\n  emptyDir: Stay", &["line 2", "empty list"]),
            ("pods:\n- events:\n  emptyDir: Stay", &["line"]),
            ("pods:\n- namespaces:\n  unmanaged: Leave", &["line"]),
            ("pods:\n- pools:\n  unmanaged: Leave", &["line 2"]),
            ("pods:\n- zones: []\n  unmanaged: Leave", &["line 2", "empty list"]),
            ("pods:\n- pools: [a b]\n  unmanaged: Leave", &["line 2", "`a b`"]),
            ("pods:\n- nodeSelektor: {}\n  unmanaged: Leave", &["line 2", "; `nodeSelector` may be meant"]),
            ("pods:\n- podSelector:\n  unmanaged: Leave", &["line"]),
            ("pods:\n- podSelector: {matchLabels: }\n  unmanaged: Leave", &["line"]),
            ("pods:\n- namespaces: [Batch]\n  unmanaged: Stay", &["line 2", "`Batch`"]),
            ("pods:\n- podSelector: {matchLabels: {app: 'a b'}}\n  unmanaged: Stay", &["line 2", "`a b`"]),
            ("pod: []", &["line 1", "pods"]),
            ("pods: 5m", &["line 1"]),
            ("pods:\n- emptyDir: Stay\n  emptyDir: Wait", &["line 3", "emptyDir"]),
            (
                "pods:\n- podSelector: {matchExpressions: [{key: app, operator: in, values: [a]}]}\n  emptyDir: Stay",
                &["line 2", "`in`", "In"],
            ),
            (
                "pods:\n- emptyDir: Stay\n- namespaces: [a]\n  emptyDir: Leave",
                &["line 2", "line 3", "`emptyDir`", "pools, zones"],
            ),
            (
                "pods:\n- pools: [a]\n  emptyDir: Stay\n- zones: [b]\n  emptyDir: Leave",
                &["line 2", "line 4", "`emptyDir`"],
            ),
        ] {
            let refusal = Policy::parse(text).unwrap_err();
            assert!(parts.iter().all(|part| refusal.contains(part)), "{text}: {refusal}");
        }
    }

    #[test]
    fn an_empty_policy_is_none() {
        for text in ["", "# nothing yet", "pods: []"] {
            assert_eq!(Policy::parse(text), Ok(Policy::default()), "{text}");
        }
    }

    #[test]
    fn rules_may_overlap_as_long_as_they_dont_contradict_each_other() {
        for apart in [
            "pods: [{events: [Reboot], emptyDir: Stay}, {events: [Freeze], emptyDir: Leave}]",
            "pods: [{namespaces: [a], emptyDir: Stay}, {namespaces: [b], emptyDir: Leave}]",
            "pods: [{pools: [a], emptyDir: Stay}, {pools: [b], emptyDir: Leave}]",
            "pods: [{zones: [a], emptyDir: Stay}, {zones: [b], emptyDir: Leave}]",
            "pods: [{nodeSelector: {matchLabels: {a: x}}, emptyDir: Stay}, {nodeSelector: {matchLabels: {a: y}}, emptyDir: Leave}]",
            "pods: [{namespaces: [a], emptyDir: Stay}, {emptyDir: Stay, unmanaged: Leave}]",
            "pods:
             - {podSelector: {matchLabels: {keep: yes}}, emptyDir: Stay}
             - {podSelector: {matchExpressions: [{key: keep, operator: NotIn, values: ['yes']}]}, emptyDir: Leave}",
        ] {
            assert!(Policy::parse(apart).is_ok(), "{apart}: {:?}", Policy::parse(apart));
        }
        let both = "pods: [{podSelector: {matchLabels: {a: x}}, emptyDir: Stay}, {podSelector: {matchLabels: {b: x}}, emptyDir: Wait}]";
        assert!(Policy::parse(both).is_err(), "a pod may have both labels");
    }
}
