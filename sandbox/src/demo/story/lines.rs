//! Lines with their times, where things of one kind and one moment share a line.

use jiff::Timestamp;

/// So many pods are named before they are only counted.
const NAMED: usize = 3;

/// What happens to several pods at once, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Evicted(String),
    Refused(String),
    /// Not by a budget; and why.
    Failed(String, String),
    AllowedNow(String),
    Gone(String),
    Died(String),
    Ready,
}

#[derive(Debug)]
enum Line {
    Said { who: &'static str, what: String },
    Pods { group: Group, pods: Vec<String> },
}

/// The lines of one moment.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<(Timestamp, Line)>,
}

impl Lines {
    pub(super) fn say(&mut self, at: Timestamp, who: &'static str, what: String) {
        self.lines.push((at, Line::Said { who, what }));
    }

    pub(super) fn add(&mut self, at: Timestamp, group: Group, pod: String) {
        self.lines.push((at, Line::Pods { group, pods: vec![pod] }));
    }

    /// Adds what came later; pods join those of their kind.
    pub(super) fn append(&mut self, later: Self) {
        for (at, line) in later.lines {
            if let Line::Pods { group, pods } = &line
                && let Some(known) = self.pods_of(group)
            {
                known.extend(pods.iter().cloned());
            } else {
                self.lines.push((at, line));
            }
        }
    }

    fn pods_of(&mut self, wanted: &Group) -> Option<&mut Vec<String>> {
        self.lines.iter_mut().find_map(|(_, line)| match line {
            Line::Pods { group, pods } if group == wanted => Some(pods),
            _ => None,
        })
    }

    /// With times since `begun`.
    pub(super) fn render(&self, begun: Timestamp) -> Vec<String> {
        let render = |(at, line): &(Timestamp, Line)| {
            let since = at.duration_since(begun).as_secs_f64();
            let (who, what) = match line {
                Line::Said { who, what } => (*who, what.clone()),
                Line::Pods { group, pods } => pods_in_words(group, pods),
            };
            format!("t+{since:5.1} s  {who:<9}  {what}")
        };
        self.lines.iter().map(render).collect()
    }
}

fn pods_in_words(group: &Group, pods: &[String]) -> (&'static str, String) {
    let many = pods.len() > 1;
    let named = if pods.len() <= NAMED { pods.join(", ") } else { format!("{} pods", pods.len()) };
    let (is, its) = if many { ("are", "their budgets say") } else { ("is", "its budget says") };
    match group {
        Group::Evicted(node) => ("mechanic", format!("evicts {named} from {node}")),
        Group::Refused(node) => ("mechanic", format!("asks to evict {named} from {node}: {its} no, for now")),
        Group::Failed(node, why) => ("mechanic", format!("asks to evict {named} from {node}: {why}")),
        Group::AllowedNow(node) => ("mechanic", format!("evicts {named} from {node}: now {its} yes")),
        Group::Gone(node) => ("", format!("{named} {is} gone from {node}")),
        Group::Died(node) => ("", format!("{named} died with the VM of {node}")),
        Group::Ready => ("", format!("{named} {is} Ready")),
    }
}
