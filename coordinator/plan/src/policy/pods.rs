//! Rules for pods that would lose something by leaving: by event type, namespace and label.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::labels::{LabelSelector, Labels};
use crate::{event::EventType, pods::Pod};

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
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
}

/// The rules, no two of which say different things of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPolicy {
    rules: Vec<PodRule>,
}

pub(super) type PodRules = Vec<Spanned<WrittenRule>>;

/// A rule as it is written. What is absent matches everything, or leaves the default as it is.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenRule {
    #[serde(default, deserialize_with = "present")]
    events: Option<Vec<PodEvent>>,
    #[serde(default, deserialize_with = "present")]
    namespaces: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    pod_selector: Option<LabelSelector>,
    unmanaged: Option<Fate>,
    empty_dir: Option<Fate>,
    annotated: Option<Fate>,
}

/// A key with nothing behind it is a slip, and not the same as no key: that would be all.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The types of events that pods are moved for.
#[derive(Clone, Copy, Deserialize)]
enum PodEvent {
    Freeze,
    Reboot,
    Redeploy,
    Preempt,
    Terminate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PodRule {
    /// `None`: all.
    events: Option<BTreeSet<EventType>>,
    /// `None`: all.
    namespaces: Option<BTreeSet<String>>,
    labels: Labels,
    unmanaged: Option<Fate>,
    empty_dir: Option<Fate>,
    annotated: Option<Fate>,
}

impl PodPolicy {
    /// Takes the rules, or says which of them makes no sense.
    pub(super) fn of(written: PodRules) -> Result<Self, String> {
        let mut rules: Vec<(u64, PodRule)> = Vec::with_capacity(written.len());
        for Spanned { value, referenced, .. } in written {
            let line = referenced.line();
            let rule = PodRule::of(value).map_err(|why| format!("{why} at line {line}"))?;
            if let Some((other, what)) =
                rules.iter().find_map(|(line, other)| rule.contradicts(other).map(|what| (line, what)))
            {
                return Err(format!(
                    "the rules at line {other} and at line {line} say different things of `{what}` where both \
                     match; name other events, namespaces or labels in one of them"
                ));
            }
            rules.push((line, rule));
        }
        Ok(Self { rules: rules.into_iter().map(|(_, rule)| rule).collect() })
    }

    /// What becomes of `pod` on `event`.
    #[must_use]
    pub fn fates(&self, pod: &Pod, event: EventType) -> Fates {
        let mut fates = Fates::usual(event);
        for rule in self.rules.iter().filter(|rule| rule.matches(pod, event)) {
            fates.unmanaged = rule.unmanaged.unwrap_or(fates.unmanaged);
            fates.empty_dir = rule.empty_dir.unwrap_or(fates.empty_dir);
            fates.annotated = rule.annotated.unwrap_or(fates.annotated);
        }
        fates
    }
}

impl Fates {
    /// Where the machine keeps its disks, what would lose something by leaving stays; where it doesn't, staying saves
    /// nothing but time.
    fn usual(event: EventType) -> Self {
        if event.keeps_disks() {
            Self { unmanaged: Fate::Stay, empty_dir: Fate::Stay, annotated: Fate::Stay }
        } else {
            Self { unmanaged: Fate::Leave, empty_dir: Fate::Leave, annotated: Fate::Wait }
        }
    }
}

impl PodRule {
    fn of(written: WrittenRule) -> Result<Self, String> {
        let WrittenRule { events, namespaces, pod_selector, unmanaged, empty_dir, annotated } = written;
        if [unmanaged, empty_dir, annotated].iter().all(Option::is_none) {
            return Err(
                "a rule says nothing: give it `unmanaged`, `emptyDir` or `annotated`, as Stay, Wait or Leave"
                    .to_owned(),
            );
        }
        let events: Option<BTreeSet<EventType>> =
            events.map(|events| events.into_iter().map(EventType::from).collect());
        let namespaces: Option<BTreeSet<String>> =
            namespaces.map(|namespaces| namespaces.into_iter().collect());
        if events.as_ref().is_some_and(BTreeSet::is_empty)
            || namespaces.as_ref().is_some_and(BTreeSet::is_empty)
        {
            return Err(
                "a rule with an empty list matches nothing; leave the key out to match all".to_owned()
            );
        }
        if let Some(name) = namespaces.iter().flatten().find(|name| !is_namespace(name)) {
            return Err(format!("`{name}` is no name that a namespace can have"));
        }
        let labels = pod_selector.map(Labels::of).transpose()?.unwrap_or_default();
        Ok(Self { events, namespaces, labels, unmanaged, empty_dir, annotated })
    }

    fn matches(&self, pod: &Pod, event: EventType) -> bool {
        self.events.as_ref().is_none_or(|events| events.contains(&event))
            && self.namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(&pod.namespace))
            && self.labels.match_all(&pod.labels)
    }

    /// The key of which both say different things though one pod may match both.
    fn contradicts(&self, other: &Self) -> Option<&'static str> {
        let apart = are_apart(self.events.as_ref(), other.events.as_ref())
            || are_apart(self.namespaces.as_ref(), other.namespaces.as_ref())
            || self.labels.are_apart(&other.labels);
        let said = [
            ("unmanaged", self.unmanaged, other.unmanaged),
            ("emptyDir", self.empty_dir, other.empty_dir),
            ("annotated", self.annotated, other.annotated),
        ];
        let mut differ =
            said.into_iter().filter(|(_, one, two)| one.is_some() && two.is_some() && one != two);
        differ.next().filter(|_| !apart).map(|(key, ..)| key)
    }
}

/// A DNS label, as RFC 1123 has it.
fn is_namespace(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    (1..=63).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}

fn are_apart<T: Ord>(one: Option<&BTreeSet<T>>, two: Option<&BTreeSet<T>>) -> bool {
    one.zip(two).is_some_and(|(one, two)| one.is_disjoint(two))
}

impl From<PodEvent> for EventType {
    fn from(event: PodEvent) -> Self {
        match event {
            PodEvent::Freeze => Self::Freeze,
            PodEvent::Reboot => Self::Reboot,
            PodEvent::Redeploy => Self::Redeploy,
            PodEvent::Preempt => Self::Preempt,
            PodEvent::Terminate => Self::Terminate,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, parts) in [
            ("pods:\n- emptyDirs: Stay", &["line 2", "emptyDirs", "emptyDir"] as &[&str]),
            ("pods:\n- emptyDir: stay", &["line 2", "stay", "Stay, Wait, Leave"]),
            ("pods:\n- events: [Rebot]\n  emptyDir: Stay", &["line 2", "Rebot", "Reboot"]),
            ("pods:\n- events: Reboot\n  emptyDir: Stay", &["line 2"]),
            ("pods:\n- events: [Reboot]", &["line 2", "says nothing"]),
            ("pods:\n- events: []\n  emptyDir: Stay", &["line 2", "empty list"]),
            ("pods:\n- events:\n  emptyDir: Stay", &["line"]),
            ("pods:\n- namespaces:\n  unmanaged: Leave", &["line"]),
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
                &["line 2", "line 3", "`emptyDir`"],
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
