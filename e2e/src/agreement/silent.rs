//! Who cannot speak about a scenario, and why not.

use super::Layer;

/// Layers that say nothing about a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// The scenario's name.
    pub scenario: &'static str,
    /// Who says nothing.
    pub layers: &'static [Layer],
    /// Why.
    pub because: &'static str,
}

/// All of them. What counters cannot say by the nature of the rule is in `Layer::expected`.
pub const SILENT: &[Silence] = &[Silence {
    scenario: "firewall/legacy-tables",
    layers: &[Layer::Trace],
    because: "the old tables report nothing",
}];
