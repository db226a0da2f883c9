//! The scenarios that come with the sandbox.

/// A scenario inside the program.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// What `--scenario` calls it.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

/// All of them; the first is played where nobody asks for another.
pub const BUILT_IN: [BuiltIn; 2] = [
    BuiltIn { name: "bad-afternoon", text: include_str!("../../scenarios/bad-afternoon.yaml") },
    BuiltIn { name: "one-reboot", text: include_str!("../../scenarios/one-reboot.yaml") },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn every_built_in_scenario_makes_sense() {
        for built_in in BUILT_IN {
            Scenario::read(built_in.name, built_in.text).unwrap();
        }
    }

    /// The only yaml block of the documentation.
    #[test]
    fn the_documented_example_makes_sense() {
        let documentation = include_str!("../../../docs/scenarios.md");
        let (_, rest) = documentation.split_once("```yaml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let scenario = Scenario::read("docs/scenarios.md", example).unwrap();
        assert_eq!((scenario.pools.len(), scenario.workloads.len(), scenario.steps.len()), (2, 5, 6));
    }
}
