//! Label selectors, written as Kubernetes writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// Labels, as Kubernetes selects them. At least one of both; all that is said must be so.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("anyOf" = [
    { "required": ["matchLabels"], "properties": { "matchLabels": { "minProperties": 1 } } },
    { "required": ["matchExpressions"], "properties": { "matchExpressions": { "minItems": 1 } } },
])))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LabelSelector {
    /// Labels and their values.
    match_labels: BTreeMap<String, String>,
    /// What is said of labels.
    match_expressions: Vec<Expression>,
}

/// What is said of one label.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend(
    "if" = { "properties": { "operator": { "enum": ["In", "NotIn"] } } },
    "then" = { "required": ["values"], "properties": { "values": { "minItems": 1 } } },
    "else" = { "properties": { "values": { "maxItems": 0 } } },
)))]
#[serde(deny_unknown_fields)]
struct Expression {
    /// The label.
    key: String,
    /// What its value must be.
    operator: Operator,
    /// Of `In` and `NotIn`, and of no other.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    #[serde(default)]
    values: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Operator {
    /// One of the values.
    In,
    /// None of the values, or there is no such label.
    NotIn,
    /// Any value.
    Exists,
    /// There is no such label.
    DoesNotExist,
}

/// What the labels of a pod or a node must be, for each key that anything is said of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels(BTreeMap<String, Values>);

/// The values that a label may have; `None` is that there is no such label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Only(BTreeSet<Option<String>>),
    AllBut(BTreeSet<Option<String>>),
}

impl Labels {
    pub(super) fn of(selector: LabelSelector) -> Result<Self, String> {
        let LabelSelector { match_labels, match_expressions } = selector;
        if match_labels.is_empty() && match_expressions.is_empty() {
            return Err("a selector that says nothing matches all; leave it out for that".to_owned());
        }
        let mut labels = Self::default();
        for (key, value) in match_labels {
            is_label(&key, [&value])?;
            labels.demand(key, Values::Only([Some(value)].into()))?;
        }
        for Expression { key, operator, values } in match_expressions {
            is_label(&key, &values)?;
            let is_list = matches!(operator, Operator::In | Operator::NotIn);
            if is_list == values.is_empty() {
                return Err(format!(
                    "In and NotIn of label `{key}` need `values`, and no other operator has any"
                ));
            }
            let values: BTreeSet<Option<String>> = values.into_iter().map(Some).collect();
            let demand = match operator {
                Operator::In => Values::Only(values),
                Operator::NotIn => Values::AllBut(values),
                Operator::Exists => Values::AllBut([None].into()),
                Operator::DoesNotExist => Values::Only([None].into()),
            };
            labels.demand(key, demand)?;
        }
        Ok(labels)
    }

    fn demand(&mut self, key: String, values: Values) -> Result<(), String> {
        let both = match self.0.remove(&key) {
            Some(before) => before.and(&values),
            None => values,
        };
        if both.is_none() {
            return Err(format!("no label `{key}` can be all that is asked of it"));
        }
        self.0.insert(key, both);
        Ok(())
    }

    /// What is demanded of each label.
    pub(super) fn each(&self) -> impl Iterator<Item = (&String, &Values)> {
        self.0.iter()
    }

    /// Whether what has these labels matches.
    pub(super) fn match_all(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, values)| values.contain(labels.get(key)))
    }

    /// Whether nothing can match both.
    pub(super) fn are_apart(&self, other: &Self) -> bool {
        let mut shared = self.0.iter().filter_map(|(key, values)| Some((values, other.0.get(key)?)));
        shared.any(|(one, two)| one.clone().and(two).is_none())
    }
}

/// What Kubernetes takes as a label.
pub(super) fn is_label<'a>(key: &str, values: impl IntoIterator<Item = &'a String>) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_dns_label);
    if name.is_empty() || !is_label_value(name) || !prefix.is_none_or(is_prefix) {
        return Err(format!("`{key}` is no key that a label can have"));
    }
    match values.into_iter().find(|value| !is_label_value(value)) {
        Some(value) => Err(format!("`{value}` is no value that the label `{key}` can have")),
        None => Ok(()),
    }
}

/// What the value of a label can be: the names of pools and zones are such.
pub(super) fn is_label_value(value: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let ends = |letter: Option<char>| letter.is_none_or(|letter| letter.is_ascii_alphanumeric());
    value.len() <= 63
        && value.chars().all(fits)
        && ends(value.chars().next())
        && ends(value.chars().next_back())
}

/// As RFC 1123 has it.
pub(super) fn is_dns_label(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    (1..=63).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}

impl Values {
    /// Those that are asked for one by one.
    pub(super) fn named(&self) -> impl Iterator<Item = &String> {
        let only = match self {
            Self::Only(only) => Some(only),
            Self::AllBut(_) => None,
        };
        only.into_iter().flatten().flatten()
    }

    pub(super) fn contain(&self, value: Option<&String>) -> bool {
        match self {
            Self::Only(only) => only.contains(&value.cloned()),
            Self::AllBut(but) => !but.contains(&value.cloned()),
        }
    }

    fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::AllBut(one), Self::AllBut(two)) => Self::AllBut(one.union(two).cloned().collect()),
            (Self::Only(only), values) => {
                Self::Only(only.into_iter().filter(|value| values.contain(value.as_ref())).collect())
            }
            (values, Self::Only(_)) => other.clone().and(&values),
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::Only(only) if only.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(yaml: &str) -> Result<Labels, String> {
        Labels::of(serde_saphyr::from_str(yaml).unwrap())
    }

    #[test]
    fn each_operator_does_what_kubernetes_has_it_do() {
        let pod = [("app".to_owned(), "web".to_owned())].into();
        for (yaml, matches) in [
            ("matchLabels: {app: web}", true),
            ("matchLabels: {app: db}", false),
            ("matchLabels: {tier: web}", false),
            ("matchExpressions: [{key: app, operator: In, values: [web, db]}]", true),
            ("matchExpressions: [{key: tier, operator: In, values: [web]}]", false),
            ("matchExpressions: [{key: app, operator: NotIn, values: [web]}]", false),
            ("matchExpressions: [{key: tier, operator: NotIn, values: [web]}]", true),
            ("matchExpressions: [{key: app, operator: Exists}]", true),
            ("matchExpressions: [{key: tier, operator: Exists}]", false),
            ("matchExpressions: [{key: app, operator: DoesNotExist}]", false),
            ("matchExpressions: [{key: tier, operator: DoesNotExist}]", true),
            (
                "{matchLabels: {app: web}, matchExpressions: [{key: app, operator: NotIn, values: [db]}]}",
                true,
            ),
        ] {
            assert_eq!(labels(yaml).unwrap().match_all(&pod), matches, "{yaml}");
        }
    }

    #[test]
    fn what_nothing_can_match_is_refused() {
        for yaml in [
            "{matchLabels: {app: web}, matchExpressions: [{key: app, operator: DoesNotExist}]}",
            "{}",
            "matchExpressions: [{key: app, operator: In}]",
            "matchExpressions: [{key: app, operator: Exists, values: [web]}]",
            "matchLabels: {-a: web}",
            "matchLabels: {a/b/c: web}",
            "matchLabels: {Example.com/app: web}",
            "matchLabels: {/app: web}",
            "matchLabels: {app: -web-}",
            "matchLabels: {app: 'web '}",
        ] {
            assert!(labels(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn selectors_are_apart_where_no_value_satisfies_both() {
        for (one, two, apart) in [
            ("matchLabels: {app: web}", "matchLabels: {app: db}", true),
            ("matchLabels: {app: web}", "matchLabels: {tier: db}", false),
            (
                "matchLabels: {app: web}",
                "matchExpressions: [{key: app, operator: NotIn, values: [web]}]",
                true,
            ),
            (
                "matchExpressions: [{key: app, operator: Exists}]",
                "matchExpressions: [{key: app, operator: DoesNotExist}]",
                true,
            ),
            (
                "matchExpressions: [{key: app, operator: Exists}]",
                "matchExpressions: [{key: app, operator: NotIn, values: [a]}]",
                false,
            ),
        ] {
            let (one, two) = (labels(one).unwrap(), labels(two).unwrap());
            assert_eq!((one.are_apart(&two), two.are_apart(&one)), (apart, apart), "{one:?} {two:?}");
        }
    }
}
