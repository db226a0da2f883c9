//! Azure's side of the sandbox: virtual machines, the scheduled events that hit them, and a metadata service for each.
//!
//! Nothing here knows Kubernetes beyond a Node's `spec.providerID`, and nothing knows mechanic: it says what the
//! documented protocol says, or misbehaves as it was told to.

mod behaviour;
mod event;
mod imds;
mod protocol;
mod vm;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::sync::watch;

pub use behaviour::Behaviour;
pub use event::{Document, Event, new_guid, rfc1123};
pub use imds::RequestCounts;
pub use protocol::{Answer, Asked, answer};
pub use vm::Vm;

use imds::{Group, Imds, State};

/// Whether a VM runs, and which boot it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// False from the moment it goes until it boots again.
    pub on: bool,
    /// What the kernel of that boot calls itself; the last one's while it is off.
    pub boot_id: String,
}

/// A `StartRequests` that Azure took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The event that was approved, for all its resources.
    pub event_id: String,
    /// The VM whose metadata service was asked.
    pub by_vm: String,
}

/// All VMs and all events of one sandbox. Cheap to clone; the servers end with the last clone.
#[derive(Clone, Debug, Default)]
pub struct Azure {
    region: Arc<Mutex<Region>>,
}

#[derive(Debug, Default)]
struct Region {
    /// By name in lower case.
    vms: BTreeMap<String, Machine>,
    /// By placement group; a VM without one has a group of its own.
    groups: BTreeMap<String, Arc<Group>>,
}

#[derive(Debug)]
struct Machine {
    state: Arc<State>,
    imds: Imds,
}

impl Azure {
    /// A region without any VM.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a running VM whose metadata service listens on `ip`, on a free port. Returns where.
    pub async fn add_vm(&self, vm: Vm, ip: impl Into<IpAddr>, boot_id: &str) -> Result<SocketAddr> {
        let key = vm.name.to_lowercase();
        if locked(&self.region).vms.contains_key(&key) {
            bail!("there is a VM {} already", vm.name);
        }
        let group = if vm.placement_group.is_empty() {
            format!("only {key}")
        } else {
            vm.placement_group.to_lowercase()
        };
        let group = Arc::clone(locked(&self.region).groups.entry(group).or_default());
        let state = Arc::new(State::new(vm, group, boot_id.to_owned()));
        let imds = Imds::start(Arc::clone(&state), SocketAddr::new(ip.into(), 0)).await?;
        let address = imds.address;
        locked(&self.region).vms.insert(key, Machine { state, imds });
        Ok(address)
    }

    /// Takes a VM out of existence, as a scale-in does.
    pub fn delete_vm(&self, vm: &str) -> Result<()> {
        let removed = locked(&self.region).vms.remove(&vm.to_lowercase());
        removed.map(drop).with_context(|| format!("there is no VM {vm}"))
    }

    /// Another VM takes the place and the name of this one, which must be off. Returns what it is called by itself.
    pub fn replace_vm(&self, vm: &str) -> Result<String> {
        let vm_id = new_guid().to_lowercase();
        self.with(vm, |machine| machine.state.set_vm_id(&vm_id))?;
        Ok(vm_id)
    }

    /// All VMs, ordered by name.
    #[must_use]
    pub fn vms(&self) -> Vec<Vm> {
        locked(&self.region).vms.values().map(|machine| machine.state.vm()).collect()
    }

    /// The VM that a Node's `spec.providerID` names.
    #[must_use]
    pub fn vm_of_provider_id(&self, provider_id: &str) -> Option<Vm> {
        self.vms().into_iter().find(|vm| vm.has_provider_id(provider_id))
    }

    /// Where the VM's metadata service listens.
    pub fn imds_address(&self, vm: &str) -> Result<SocketAddr> {
        self.with(vm, |machine| machine.imds.address)
    }

    /// Announces an event to every VM that shares a placement group with one of its resources. Returns its id.
    pub fn announce(&self, event: &Event) -> Result<String> {
        let groups = self.groups_of(event)?;
        for group in groups {
            locked(&group.document).change(|events| events.push(event.clone()));
        }
        Ok(event.event_id.clone())
    }

    /// The event begins: status `Started`, `NotBefore` blank.
    pub fn start(&self, event_id: &str) -> Result<()> {
        self.change(event_id, |event| *event = event.clone().started())
    }

    /// Changes an announced event in place, for example to move its `NotBefore`.
    pub fn change(&self, event_id: &str, change: impl Fn(&mut Event)) -> Result<()> {
        self.in_documents_with(event_id, |events| {
            events.iter_mut().filter(|event| event.event_id == event_id).for_each(&change);
        })
    }

    /// The event is over, or cancelled: Azure shows both in the same way.
    pub fn remove(&self, event_id: &str) -> Result<()> {
        self.in_documents_with(event_id, |events| events.retain(|event| event.event_id != event_id))
    }

    /// The document that the VM's placement group has now, whatever its IMDS makes of it.
    pub fn document(&self, vm: &str) -> Result<Document> {
        self.with(vm, |machine| locked(&machine.state.group.document).clone())
    }

    /// Starts the incarnation of the VM's placement group over, as Azure does after a day without a request.
    pub fn reset_incarnation(&self, vm: &str) -> Result<()> {
        self.with(vm, |machine| locked(&machine.state.group.document).incarnation = 1)
    }

    /// From now on this VM's answers to a good request for events are these bytes; `None` ends that.
    pub fn override_document(&self, vm: &str, bytes: Option<Bytes>) -> Result<()> {
        self.with(vm, |machine| *locked(&machine.state.raw_document) = bytes)
    }

    /// Changes how the VM's metadata service treats requests.
    pub fn set_behaviour(&self, vm: &str, behaviour: Behaviour) -> Result<()> {
        self.with(vm, |machine| machine.state.behave(behaviour))
    }

    /// Switches the limit of five requests a second off or on again; it is on to begin with.
    pub fn set_throttling(&self, vm: &str, on: bool) -> Result<()> {
        self.with(vm, |machine| machine.state.throttle.send_replace(on)).map(drop)
    }

    /// What the VM's metadata service has been asked so far.
    pub fn requests(&self, vm: &str) -> Result<RequestCounts> {
        self.with(vm, |machine| *locked(&machine.state.counts))
    }

    /// All approvals, oldest first within a placement group. An approval starts nothing by itself: Azure may wait.
    #[must_use]
    pub fn approvals(&self) -> Vec<Approval> {
        let region = locked(&self.region);
        region.groups.values().flat_map(|group| locked(&group.approvals).clone()).collect()
    }

    /// The VM goes: its IMDS falls silent. What runs on it is its kubelet's to end.
    pub fn power_off(&self, vm: &str) -> Result<()> {
        self.with(vm, |machine| machine.state.power.send_modify(|power| power.on = false))
    }

    /// The VM boots. Returns the new boot's id.
    pub fn power_on(&self, vm: &str) -> Result<String> {
        let boot_id = new_guid().to_lowercase();
        let power = Power { on: true, boot_id: boot_id.clone() };
        self.with(vm, |machine| machine.state.power.send_replace(power)).map(drop)?;
        Ok(boot_id)
    }

    /// The VM's power, now and as it changes.
    pub fn power(&self, vm: &str) -> Result<watch::Receiver<Power>> {
        self.with(vm, |machine| machine.state.power.subscribe())
    }

    fn with<R>(&self, vm: &str, look: impl FnOnce(&Machine) -> R) -> Result<R> {
        let region = locked(&self.region);
        region.vms.get(&vm.to_lowercase()).map(look).with_context(|| format!("there is no VM {vm}"))
    }

    fn groups_of(&self, event: &Event) -> Result<Vec<Arc<Group>>> {
        let region = locked(&self.region);
        let mut groups: Vec<Arc<Group>> = Vec::new();
        for machine in region.vms.values().filter(|machine| event.hits(&machine.state.vm().name)) {
            if !groups.iter().any(|group| Arc::ptr_eq(group, &machine.state.group)) {
                groups.push(Arc::clone(&machine.state.group));
            }
        }
        if groups.is_empty() {
            bail!("event {} names no VM of this sandbox: {:?}", event.event_id, event.resources);
        }
        Ok(groups)
    }

    fn in_documents_with(&self, event_id: &str, change: impl Fn(&mut Vec<Event>)) -> Result<()> {
        let mut found = false;
        for group in locked(&self.region).groups.values() {
            let mut document = locked(&group.document);
            if document.events.iter().any(|event| event.event_id == event_id) {
                document.change(&change);
                found = true;
            }
        }
        if found { Ok(()) } else { bail!("there is no event {event_id} to change") }
    }
}

// A panic while a test held the lock is that test's failure, not a reason for all others to fail.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
