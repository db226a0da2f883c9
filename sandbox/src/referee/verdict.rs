//! What the referee says at the end.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Which promise is broken. The name of each is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// More nodes were drained at once than the budget allows.
    TooManyDrains,
    /// More of a pool was cordoned than allowed.
    TooManyCordoned,
    /// A drain was begun while too many nodes were out of use.
    TooManyUnavailable,
    /// A pod was moved for an event that needs no pod moved.
    MovedInVain,
    /// Something was begun while mechanic was paused.
    PausedAndBegan,
    /// Something was written in a dry run.
    DryRunAndWrote,
    /// A node was touched that somebody had opted out.
    OptedOut,
    /// A pod was deleted instead of evicted.
    PodDeleted,
    /// A cordon of somebody else's was undone, or somebody's decision overridden.
    ForeignCordon,
    /// A node was given back while its event or its VM wasn't through.
    ReleasedEarly,
    /// A coordinator wrote without being the leader.
    NotTheLeader,
    /// An eviction didn't name the UID of its pod.
    NoUidPrecondition,
    /// A pod was evicted from a node that mechanic didn't hold.
    NodeNotClaimed,
    /// A pod was given no time to stop.
    NoGrace,
    /// An event began with pods on its node that could have been moved.
    PodsLeftBehind,
    /// A node was still held at the end.
    LeftCordoned,
    /// Evictions took a workload under its PodDisruptionBudget.
    BudgetBroken,
    /// A probe asked the API server for something.
    ProbeTouchedApi,
    /// A coordinator asked for what it has no right to.
    WithoutRight,
    /// The referee could not see everything, so nothing it says counts.
    Blind,
}

/// One promise broken once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub check: Check,
    /// When.
    pub at: Timestamp,
    /// What happened, as a sentence with names.
    pub what: String,
}

/// One drain, as seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Where.
    pub node: String,
    /// The first eviction that was tried.
    pub from: Timestamp,
    /// The last evicted pod was gone; the end of the run if one never was.
    pub until: Timestamp,
    /// How many pods were evicted.
    pub pods: usize,
}

/// What happened, beside the violations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// All drains, in order of their start.
    pub drains: Vec<Drain>,
    /// The most nodes drained at once.
    pub most_drains_at_once: usize,
    /// Evictions that the API server accepted.
    pub evictions_accepted: usize,
    /// Evictions that a PodDisruptionBudget refused.
    pub evictions_refused: usize,
    /// Pods of which more than one eviction was accepted: nobody waited to see what came of the first.
    pub evicted_twice: usize,
    /// Pods deleted at their last call, as people had allowed.
    pub last_calls: usize,
    /// `namespace/name` of pods whose eviction a PodDisruptionBudget refused and later allowed.
    pub refused_then_accepted: Vec<String>,
    /// Holders of the Lease, in order.
    pub leaders: Vec<String>,
    /// Writes of a former leader that the API server had received before the Lease changed hands.
    pub in_flight_at_change: usize,
    /// All requests that coordinators made.
    pub coordinator_requests: usize,
}

/// The referee's last word on a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In order of time. Empty means that every promise was kept.
    pub violations: Vec<Violation>,
    /// What else is worth knowing.
    pub facts: Facts,
}

impl Verdict {
    /// Every promise was kept, and the referee saw everything.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// The promises broken, each once.
    #[must_use]
    pub fn broken(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = self.violations.iter().map(|violation| violation.check).collect();
        checks.sort_unstable();
        checks.dedup();
        checks
    }
}

impl Check {
    /// The promise, in words.
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Self::TooManyDrains => "no more nodes are drained at once than allowed",
            Self::TooManyCordoned => "no more of a pool is cordoned than allowed",
            Self::TooManyUnavailable => "no drain is begun while too many nodes are out of use",
            Self::MovedInVain => "no pod is moved for an event that does it no harm",
            Self::PausedAndBegan => "nothing new is begun while paused",
            Self::DryRunAndWrote => "a dry run writes nothing",
            Self::OptedOut => "a node that is opted out is left alone",
            Self::PodDeleted => "pods are evicted, and deleted at an allowed last call only",
            Self::ForeignCordon => "a cordon by somebody else is never touched",
            Self::ReleasedEarly => "a node is given back only when its event is over and its VM is back",
            Self::NotTheLeader => "only the leader writes",
            Self::NoUidPrecondition => "each eviction is bound to the UID of its pod",
            Self::NodeNotClaimed => "pods are evicted only from nodes that are claimed",
            Self::NoGrace => "each pod gets time to stop",
            Self::PodsLeftBehind => "pods that can be moved in time are moved",
            Self::LeftCordoned => "every node is given back",
            Self::BudgetBroken => "no PodDisruptionBudget is broken",
            Self::ProbeTouchedApi => "probes don't touch the API server",
            Self::WithoutRight => "coordinators ask for nothing that they have no right to",
            Self::Blind => "the referee sees everything",
        }
    }

    /// All promises, in the order in which they are told.
    pub const ALL: [Self; 20] = [
        Self::BudgetBroken,
        Self::TooManyDrains,
        Self::TooManyCordoned,
        Self::TooManyUnavailable,
        Self::MovedInVain,
        Self::PodDeleted,
        Self::NoUidPrecondition,
        Self::NoGrace,
        Self::NodeNotClaimed,
        Self::ForeignCordon,
        Self::OptedOut,
        Self::ReleasedEarly,
        Self::LeftCordoned,
        Self::PausedAndBegan,
        Self::DryRunAndWrote,
        Self::NotTheLeader,
        Self::PodsLeftBehind,
        Self::ProbeTouchedApi,
        Self::WithoutRight,
        Self::Blind,
    ];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broken = self.broken();
        writeln!(f, "The referee, who saw only the API server and its audit log:")?;
        for check in Check::ALL {
            let mark = if broken.contains(&check) { "BROKEN" } else { "kept  " };
            writeln!(f, "  {mark}  {}", check.promise())?;
            for violation in self.violations.iter().filter(|violation| violation.check == check) {
                writeln!(f, "            {} {}", violation.at.strftime("%H:%M:%S%.3f"), violation.what)?;
            }
        }
        write!(f, "{}", self.facts)
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for drain in &self.drains {
            let took = drain.until.duration_since(drain.from);
            writeln!(f, "  Drained {} of {} pods in {}.", drain.node, drain.pods, seconds(took))?;
        }
        writeln!(
            f,
            "  {} evictions accepted, {} refused by a PodDisruptionBudget; at most {} nodes drained at once.",
            self.evictions_accepted, self.evictions_refused, self.most_drains_at_once
        )?;
        let (named, more) = self.refused_then_accepted.split_at(self.refused_then_accepted.len().min(3));
        for pod in named {
            writeln!(f, "  The budget said no to the eviction of {pod}, and yes later.")?;
        }
        if !more.is_empty() {
            writeln!(f, "  The same of {} more pods.", more.len())?;
        }
        writeln!(f, "  Leaders, in order: {}.", self.leaders.join(", "))?;
        if self.in_flight_at_change > 0 {
            writeln!(f, "  {} writes were on their way when the leader changed.", self.in_flight_at_change)?;
        }
        write!(f, "  Coordinators made {} requests to the API server.", self.coordinator_requests)
    }
}

fn seconds(duration: SignedDuration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
