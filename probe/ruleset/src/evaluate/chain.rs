//! One base chain, and all that it calls.

use std::collections::HashMap;

use super::answer::Truth;
use super::read::Reading;
use super::spot::Spot;
use super::state::{Bits, PartId, State, Tracked};
use super::{connection, tracking};
use crate::action::{Action, VerdictMap};
use crate::expression::Expression;
use crate::model::{Part, Policy, Rule, Ruleset};
use crate::place::{Backend, Place, TableFamily};
use crate::walk::{Effect, Outcome, Step};
use crate::world::{Flow, World};

/// How many unknown answers are tried both ways in one base chain.
const TRIED: usize = 6;
/// How deep chains may call each other. The kernel refuses loops, a text may have them.
const DEEPEST: usize = 512;
/// How many calls of chains one base chain may lead to.
const MOST_CALLS: usize = 20_000;

/// What does not change while packets pass.
pub(super) struct Scene<'a> {
    pub(super) rules: &'a Ruleset,
    pub(super) flow: &'a Flow,
    pub(super) world: &'a World,
    /// Whether conntrack is there.
    pub(super) tracks: bool,
    chains: Vec<HashMap<&'a str, usize>>,
}

/// A base chain's end, or the unknown answer that it waits for.
pub(super) enum End {
    Outcome(Outcome),
    Asks { place: Place, why: String },
}

/// What a rule leads to.
pub(super) enum Next {
    Rule,
    Call(usize),
    Replace(usize),
    Return,
    End(End),
}

impl Next {
    pub(super) fn outcome(outcome: Outcome) -> Self {
        Self::End(End::Outcome(outcome))
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(rules: &'a Ruleset, flow: &'a Flow, world: &'a World) -> Self {
        let names = |table: &'a crate::Table| {
            table.chains.iter().enumerate().map(|(at, chain)| (chain.name.as_str(), at)).collect()
        };
        let version = if flow.source.is_ipv4() { TableFamily::Ip } else { TableFamily::Ip6 };
        let tracks = tracking::is_there(rules, version);
        Self { rules, flow, world, tracks, chains: rules.tables.iter().map(names).collect() }
    }

    /// What a base chain does to the packet.
    pub(super) fn run(&self, state: &mut State, spot: &Spot, table: usize, chain: usize) -> Outcome {
        let (after, outcome) = self.explore(state, spot, (table, chain), &mut Vec::new());
        *state = after;
        outcome
    }

    fn explore(
        &self,
        before: &State,
        spot: &Spot,
        base: (usize, usize),
        answers: &mut Vec<bool>,
    ) -> (State, Outcome) {
        let mut run = Run { scene: self, spot, table: base.0, state: before.clone(), answers, asked: 0 };
        let (place, why) = match run.base(base.1) {
            End::Outcome(outcome) => return (run.state, outcome),
            End::Asks { place, why } => (place, why),
        };
        let mut stopped = run.state;
        if answers.len() < TRIED {
            answers.push(false);
            let (state, outcome) = self.explore(before, spot, base, answers);
            answers.pop();
            answers.push(true);
            let (other_state, other) = self.explore(before, spot, base, answers);
            answers.pop();
            if outcome == other
                && let Some(state) = state.or_else(other_state)
            {
                return (state, outcome);
            }
        }
        stopped.steps.push(Step { place: place.clone(), effect: Effect::Undetermined });
        (stopped, Outcome::Undetermined { place, why })
    }
}

/// One run of a base chain with answers to what nobody knows.
pub(super) struct Run<'a, 'b> {
    pub(super) scene: &'b Scene<'a>,
    pub(super) spot: &'b Spot,
    pub(super) table: usize,
    pub(super) state: State,
    answers: &'b [bool],
    asked: usize,
}

impl<'a> Run<'a, '_> {
    fn base(&mut self, base: usize) -> End {
        let rules: &'a Ruleset = self.scene.rules;
        let table = &rules.tables[self.table];
        let mut stack = vec![(base, 0)];
        let mut calls = 0;
        while let Some((chain_at, rule_at)) = stack.last_mut() {
            let chain = &table.chains[*chain_at];
            let Some(rule) = chain.rules.get(*rule_at) else {
                stack.pop();
                continue;
            };
            let id = (self.table, *chain_at, *rule_at, 0);
            *rule_at += 1;
            let next = self.rule(id, rule);
            calls += usize::from(matches!(next, Next::Call(_) | Next::Replace(_)));
            let endless = stack.len() > DEEPEST || calls > MOST_CALLS;
            match next {
                Next::Rule => {}
                Next::Call(chain) if !endless => stack.push((chain, 0)),
                Next::Replace(chain) if !endless => {
                    stack.pop();
                    stack.push((chain, 0));
                }
                Next::Call(_) | Next::Replace(_) => {
                    let why = "chains call each other without end".into();
                    return self.undetermined(table.rule_place(chain, rule), why);
                }
                Next::Return => {
                    stack.pop();
                }
                Next::End(end) => return end,
            }
        }
        let chain = &table.chains[base];
        let place = table.policy_place(chain);
        let policy = chain.base.as_ref().map_or(Policy::Accept, |base| base.policy);
        let (effect, outcome) = match policy {
            Policy::Accept => (Effect::PolicyAccept, Outcome::Open),
            Policy::Drop => (Effect::PolicyDrop, Outcome::Dropped(place.clone())),
        };
        self.state.steps.push(Step { place, effect });
        End::Outcome(outcome)
    }

    /// What a rule leads to is not known.
    pub(super) fn nobody_knows(&mut self, id: PartId, why: &str) -> Next {
        Next::End(self.undetermined(self.place(id), why.to_owned()))
    }

    fn undetermined(&mut self, place: Place, why: String) -> End {
        self.state.steps.push(Step { place: place.clone(), effect: Effect::Undetermined });
        End::Outcome(Outcome::Undetermined { place, why })
    }

    pub(super) fn place(&self, id: PartId) -> Place {
        let table = &self.scene.rules.tables[id.0];
        let chain = &table.chains[id.1];
        table.rule_place(chain, &chain.rules[id.2])
    }

    pub(super) fn step(&mut self, id: PartId, effect: Effect) {
        let place = self.place(id);
        self.state.steps.push(Step { place, effect });
    }

    fn rule(&mut self, id: PartId, rule: &Rule) -> Next {
        let mut unknown: Option<String> = None;
        for (at, part) in rule.parts.iter().enumerate() {
            let id = (id.0, id.1, id.2, at);
            match part {
                Part::Ask(condition) => match self.ask(id, condition, unknown.is_none()) {
                    Truth::Yes => {}
                    Truth::No => return Next::Rule,
                    Truth::Maybe(why) => {
                        unknown.get_or_insert(why);
                    }
                },
                Part::Do(action) => {
                    if let Some(next) = self.act(id, action, &mut unknown) {
                        return next;
                    }
                }
            }
        }
        if unknown.is_none() {
            self.step(id, Effect::Continue);
        }
        Next::Rule
    }

    /// Does what an action does; nothing comes back if the rule goes on with its next part.
    fn act(&mut self, id: PartId, action: &Action, unknown: &mut Option<String>) -> Option<Next> {
        let certain = unknown.is_none();
        match action {
            Action::Counter | Action::Log(_) | Action::Trace | Action::Harmless(_) => return None,
            Action::ChangeTtl => {
                self.state.ttl_changed = true;
                return None;
            }
            Action::SetMark(value) => {
                let Some(new) = self.number(id, value) else { return Some(Next::Rule) };
                let old = self.state.mark;
                self.state.mark = if certain { new } else { old.or_else(new) };
                return None;
            }
            Action::SetCtMark(value) => {
                match self.number(id, value) {
                    Some(new) => self.set_ct_mark(new, certain),
                    None if self.scene.rules.tables[id.0].backend == Backend::Native => {
                        return Some(Next::Rule);
                    }
                    // iptables' target does nothing then.
                    None => {}
                }
                return None;
            }
            Action::SaveMark { packet, connection } => {
                let old = connection::entry(&self.state).map(|entry| entry.mark).unwrap_or_default();
                let new = mixed(old, *connection, self.state.mark, *packet);
                self.set_ct_mark(new, certain);
                return None;
            }
            Action::RestoreMark { packet, connection } => {
                let from = connection::entry(&self.state).map(|entry| entry.mark)?;
                let old = self.state.mark;
                let new = mixed(old, *packet, from, *connection);
                self.state.mark = if certain { new } else { old.or_else(new) };
                return None;
            }
            Action::ChangeIpSet { name, .. } => {
                self.state.ipsets_changed.insert(name.clone());
                return None;
            }
            Action::ChangeSet(name) => {
                self.state.sets_changed.insert((id.0, name.clone()));
                return None;
            }
            Action::NoTrack if certain => {
                // Conntrack, or a rule before, has decided about it.
                if self.state.tracked == Tracked::Nothing {
                    self.state.tracked = Tracked::Exempt;
                }
                return None;
            }
            _ => {}
        }
        if let Some(why) = unknown.take() {
            match self.answers.get(self.asked) {
                None => return Some(Next::End(End::Asks { place: self.place(id), why })),
                Some(answer) => {
                    self.asked += 1;
                    if !answer {
                        return Some(Next::Rule);
                    }
                }
            }
        }
        self.decide(id, action)
    }

    /// Does an action that decides, of a rule that matched.
    fn decide(&mut self, id: PartId, action: &Action) -> Option<Next> {
        let end = |outcome| Some(Next::outcome(outcome));
        match action {
            Action::Accept => {
                self.step(id, Effect::Accept);
                end(Outcome::Open)
            }
            Action::Drop => {
                self.step(id, Effect::Drop);
                end(Outcome::Dropped(self.place(id)))
            }
            Action::Reject(with) => {
                self.step(id, Effect::Reject(*with));
                end(Outcome::Rejected { place: self.place(id), with: *with })
            }
            Action::Return => {
                self.step(id, Effect::Return);
                Some(Next::Return)
            }
            Action::Continue => {
                self.step(id, Effect::Continue);
                Some(Next::Rule)
            }
            Action::Jump(name) | Action::Goto(name) => {
                let Some(chain) = self.scene.chains[id.0].get(name.as_str()).copied() else {
                    let why = format!("there is no chain \"{name}\"");
                    return Some(Next::End(self.undetermined(self.place(id), why)));
                };
                if matches!(action, Action::Jump(_)) {
                    self.step(id, Effect::Jump(name.clone()));
                    return Some(Next::Call(chain));
                }
                self.step(id, Effect::Goto(name.clone()));
                Some(Next::Replace(chain))
            }
            Action::NoTrack => {
                self.state.tracked = Tracked::Exempt;
                None
            }
            // nft's inet tables have rules for the other version too, which do nothing (`nft_nat_inet_eval`).
            Action::Dnat(target) | Action::Snat(target) if self.is_for_other_version(target) => None,
            Action::Dnat(target) => Some(self.set_destination(id, target, false)),
            Action::Redirect(target) => Some(self.set_destination(id, target, true)),
            Action::Snat(target) => Some(self.set_source(id, Some(target))),
            Action::Masquerade => Some(self.set_source(id, None)),
            Action::VerdictMap { key, map } => self.look_up(id, key, map),
            Action::Handover(what) => {
                let why = format!("{what} hands the packet to somebody else");
                Some(Next::End(self.undetermined(self.place(id), why)))
            }
            Action::Unknown(what) => {
                let why = format!("\"{what}\" is not understood");
                Some(Next::End(self.undetermined(self.place(id), why)))
            }
            _ => None,
        }
    }

    fn look_up(&mut self, id: PartId, key: &Expression, map: &VerdictMap) -> Option<Next> {
        let rules: &'a Ruleset = self.scene.rules;
        let entries = match map {
            VerdictMap::Inline(entries) => Some(entries.as_slice()),
            VerdictMap::Named(name) => {
                let changed = self.state.sets_changed.contains(&(id.0, name.clone()));
                let map = rules.tables[id.0].maps.get(name).filter(|_| !changed);
                map.and_then(|map| map.verdicts.as_deref())
            }
        };
        let found = match (self.read(id, key), entries) {
            (Reading::Missing, _) => return Some(Next::Rule),
            (reading, Some(entries)) => self.first_held(&reading, entries),
            (_, None) => Err("the map is not understood".to_owned()),
        };
        match found {
            Ok(Some(action)) => self.decide(id, &action),
            Ok(None) => Some(Next::Rule),
            Err(why) => Some(Next::End(self.undetermined(self.place(id), why))),
        }
    }

    fn set_ct_mark(&mut self, new: Bits, certain: bool) {
        if let Some(mark) = connection::mark_mut(&mut self.state) {
            *mark = if certain { new } else { mark.or_else(new) };
        }
    }
}

/// `(to & !to_mask) ^ (from & from_mask)`, as the kernel mixes marks.
fn mixed(to: Bits, to_mask: u32, from: Bits, from_mask: u32) -> Bits {
    let (keep, take) = (!u128::from(to_mask), u128::from(from_mask));
    let unknown = (to.unknown & keep) | (from.unknown & take);
    Bits { value: ((to.value & keep) ^ (from.value & take)) & !unknown, unknown }
}
