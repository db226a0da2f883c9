//! Who stands for election.

use thiserror::Error;

/// The API server takes the holder as the field manager too, and refuses longer ones at each renewal.
const LONGEST_HOLDER: usize = 128;
/// One underscore and eight hexadecimal digits.
const SUFFIX: usize = 9;

/// A process that stands for election, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who it is: unique for each process, so that a restarted process never takes itself for its predecessor. At most
    /// 128 characters.
    pub holder: String,
    /// `host:port` where it serves gRPC, for redirects.
    pub address: String,
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub lease: String,
}

/// Why a candidate can't stand.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the candidate's {field} is {problem}: {value:?}")]
pub struct InvalidCandidate {
    field: &'static str,
    problem: &'static str,
    value: String,
}

impl Candidate {
    /// A candidate named after its pod, with a random suffix that makes this process unique.
    #[must_use]
    pub fn new(pod_name: &str, address: &str, namespace: &str, lease: &str) -> Self {
        let pod_name: String = pod_name.chars().take(LONGEST_HOLDER - SUFFIX).collect();
        Self {
            holder: format!("{pod_name}_{:08x}", rand::random::<u32>()),
            address: address.to_owned(),
            namespace: namespace.to_owned(),
            lease: lease.to_owned(),
        }
    }

    /// One for tests.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            holder: "me_1".into(),
            address: "127.0.0.2:7443".into(),
            namespace: "mechanic".into(),
            lease: "mechanic-coordinator".into(),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidCandidate> {
        let invalid =
            |field, problem, value: &String| Err(InvalidCandidate { field, problem, value: value.clone() });
        if self.holder.chars().count() > LONGEST_HOLDER {
            return invalid("holder id", "longer than 128 characters", &self.holder);
        }
        for (field, value) in [
            ("holder id", &self.holder),
            ("address", &self.address),
            ("namespace", &self.namespace),
            ("lease", &self.lease),
        ] {
            if value.is_empty() {
                return invalid(field, "empty", value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_of_a_pod_is_another_holder() {
        let one = Candidate::new(
            "mechanic-coordinator-7c9f-abcde",
            "10.0.0.1:7443",
            "mechanic",
            "mechanic-coordinator",
        );
        let two = Candidate::new(
            "mechanic-coordinator-7c9f-abcde",
            "10.0.0.1:7443",
            "mechanic",
            "mechanic-coordinator",
        );
        assert_ne!(one.holder, two.holder);
        assert!(one.holder.starts_with("mechanic-coordinator-7c9f-abcde_"));
        assert_eq!(one.validate(), Ok(()));
    }

    #[test]
    fn a_long_pod_name_is_cut_and_a_long_holder_refused() {
        let mut candidate = Candidate::new(&"p".repeat(253), "a:1", "n", "l");
        assert_eq!(candidate.holder.len(), 128);
        assert_eq!(candidate.validate(), Ok(()));
        candidate.holder.push('x');
        assert!(candidate.validate().is_err());
        candidate.holder.clear();
        assert!(candidate.validate().is_err());
    }
}
