//! On which machine this probe runs: the virtual machine from Azure, the boot from the kernel.

use std::{path::Path, time::Duration};

use mechanic_proto::v1::VirtualMachine;
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{imds::Imds, reading::Readings};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_secs(10);

/// What is known of the machine; neither part changes once it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The kernel's boot id; empty until it could be read.
    pub boot_id: String,
    /// The virtual machine; none until the metadata service has said it.
    pub virtual_machine: Option<VirtualMachine>,
}

/// Asks until both parts are known, then returns.
pub async fn establish(imds: &Imds, boot_id_file: &Path, readings: &Readings) {
    let mut retry = FIRST_RETRY;
    let mut complaint = String::new();
    loop {
        match attempt(imds, boot_id_file, readings).await {
            Ok(()) => return,
            Err(reason) if reason == complaint => {}
            Err(reason) => {
                warn!(%reason, "this machine's identity is not known yet; asking again");
                complaint = reason;
            }
        }
        sleep(retry).await;
        retry = (retry * 2).min(SLOWEST_RETRY);
    }
}

async fn attempt(imds: &Imds, boot_id_file: &Path, readings: &Readings) -> Result<(), String> {
    let known = readings.borrow().identity.clone();
    let mut failed = None;
    if known.boot_id.is_empty() {
        match boot_id(boot_id_file) {
            Ok(boot_id) => {
                info!(%boot_id, "boot known");
                readings.send_modify(|reading| reading.identity.boot_id = boot_id);
            }
            Err(reason) => failed = Some(reason),
        }
    }
    if known.virtual_machine.is_none() {
        let asked = Instant::now();
        match imds.compute().await.and_then(|body| virtual_machine(&body)) {
            Ok(vm) => {
                info!(
                    name = %vm.name, vm_id = %vm.vm_id, resource_id = %vm.resource_id,
                    after_ms = asked.elapsed().as_millis(), "virtual machine known"
                );
                readings.send_modify(|reading| reading.identity.virtual_machine = Some(vm));
            }
            Err(reason) => failed = Some(reason),
        }
    }
    failed.map_or(Ok(()), Err)
}

fn boot_id(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("the boot id can't be read from {}: {error}", file.display()))?;
    match text.trim() {
        "" => Err(format!("there is no boot id in {}", file.display())),
        boot_id => Ok(boot_id.to_owned()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Compute {
    name: String,
    vm_id: String,
    resource_id: String,
    #[serde(default)]
    placement_group_id: Option<String>,
}

/// Reads `compute` of the metadata service. Errors are sentences.
pub fn virtual_machine(body: &[u8]) -> Result<VirtualMachine, String> {
    // serde reads a struct from an array too.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err("what the metadata service says about this machine is not a JSON object".to_owned());
    }
    let compute: Compute = serde_json::from_slice(body).map_err(|error| {
        format!("what the metadata service says about this machine can't be read: {error}")
    })?;
    for (field, value) in
        [("name", &compute.name), ("vmId", &compute.vm_id), ("resourceId", &compute.resource_id)]
    {
        if value.trim().is_empty() {
            return Err(format!("the metadata service leaves {field} of this machine empty"));
        }
    }
    Ok(VirtualMachine {
        vm_id: compute.vm_id,
        resource_id: compute.resource_id,
        name: compute.name,
        placement_group_id: compute.placement_group_id.unwrap_or_default(),
    })
}
