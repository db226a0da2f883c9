//! Faults between the coordinators and the API server, and of the API server itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::Actor;
use crate::fault_proxy::{Effect, Fault, FaultHandle, FaultProxy, Requests};
use crate::scenario::action::{EffectScript, FaultScript, RequestsScript};
use crate::scenario::time::Time;

/// The faults in force, by name.
#[derive(Debug, Default)]
pub(super) struct Faults {
    all: BTreeMap<String, InForce>,
}

#[derive(Debug)]
struct InForce {
    handle: FaultHandle,
    until: Option<Instant>,
    /// It is no failure if it meets no request.
    may_idle: bool,
}

impl Faults {
    pub(super) fn handle(&self, name: &str) -> Option<&FaultHandle> {
        self.all.get(name).map(|fault| &fault.handle)
    }

    pub(super) fn next_end(&self) -> Option<Instant> {
        self.all.values().filter_map(|fault| fault.until).min()
    }

    pub(super) fn clear_until(&mut self, now: Instant) {
        for fault in self.all.values_mut().filter(|fault| fault.until.is_some_and(|until| until <= now)) {
            fault.handle.clear();
            fault.until = None;
        }
    }

    pub(super) fn release(&mut self, name: &str) {
        if let Some(fault) = self.all.get_mut(name) {
            fault.handle.release();
            fault.until = None;
        }
    }

    pub(super) fn clear(&mut self, name: &str) {
        if let Some(fault) = self.all.get_mut(name) {
            fault.handle.clear();
            fault.until = None;
        }
    }

    pub(super) fn let_idle(&mut self, name: &str) {
        if let Some(fault) = self.all.get_mut(name) {
            fault.may_idle = true;
        }
    }

    /// A fault that met no request has tried nothing.
    pub(super) fn that_met_nothing(&self) -> Vec<String> {
        let idle = self.all.iter().filter(|(_, fault)| !fault.may_idle && fault.handle.hits() == 0);
        idle.map(|(name, _)| format!("the fault {name} met no request")).collect()
    }
}

/// A time without an API server.
pub(super) struct Outage {
    pub(super) until: Instant,
    frozen: bool,
}

impl Actor<'_> {
    pub(super) async fn fault(&mut self, script: &FaultScript) -> Result<()> {
        let requests = self.requests(&script.requests).await?;
        self.note(format!("begins the fault {} for {requests}: {}", script.name, script.effect));
        let fault = Fault { requests, effect: self.effect(&script.effect), times: script.times };
        let until = script.r#for.map(|time| Instant::now() + time.at(self.speed));
        let handle = self.proxy()?.inject(fault);
        self.faults.all.insert(script.name.clone(), InForce { handle, until, may_idle: false });
        Ok(())
    }

    pub(super) fn cut_watches(&self) -> Result<()> {
        self.note("cuts all watches of the coordinators".into());
        self.proxy()?.cut_watches(None);
        Ok(())
    }

    pub(super) fn freeze_api_server(&mut self, time: Time) -> Result<()> {
        self.note(format!("freezes the API server for {time}"));
        self.world.cluster.freeze_api_server()?;
        self.outage = Some(Outage { until: Instant::now() + time.at(self.speed), frozen: true });
        Ok(())
    }

    pub(super) async fn kill_api_server(&mut self, time: Time) -> Result<()> {
        self.note(format!("kills the API server, and starts it again after {time}"));
        self.world.cluster.kill_api_server().await?;
        self.outage = Some(Outage { until: Instant::now() + time.at(self.speed), frozen: false });
        Ok(())
    }

    pub(super) async fn end_outage(&mut self) -> Result<()> {
        match self.outage.take() {
            Some(Outage { frozen: true, .. }) => self.world.cluster.thaw_api_server()?,
            Some(_) => self.world.cluster.restart_api_server().await?,
            None => return Ok(()),
        }
        self.note("the API server answers again".into());
        Ok(())
    }

    fn proxy(&self) -> Result<&FaultProxy> {
        self.world.fault_proxy.as_deref().context("this world has no fault proxy")
    }

    async fn requests(&self, script: &RequestsScript) -> Result<Requests> {
        let mut requests = Requests::any();
        if let Some(coordinator) = script.from {
            requests = requests.from(&self.coordinator(coordinator).await?.pod);
        }
        if let Some(method) = &script.method {
            requests = requests.method(method);
        }
        if let Some(part) = &script.path {
            requests = requests.path_contains(part);
        }
        if let Some(part) = &script.body {
            requests = requests.body_contains(part);
        }
        Ok(requests)
    }

    fn effect(&self, script: &EffectScript) -> Effect {
        match script {
            EffectScript::Hold => Effect::Hold,
            EffectScript::HoldOnItsWay => Effect::HoldOnItsWay,
            EffectScript::HoldAnswer => Effect::HoldAnswer,
            EffectScript::Drop => Effect::DropBefore,
            EffectScript::DropAfterEffect => Effect::DropAfterTakingEffect,
            EffectScript::Delay(time) => Effect::Delay(time.at(self.speed)),
            EffectScript::Answer(status) => Effect::refuse(*status, reason(*status)),
        }
    }
}

/// The word that an API server puts beside this status.
fn reason(status: u16) -> &'static str {
    match status {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}
