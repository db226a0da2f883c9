//! How to look into a cluster that is up: lines to paste into a shell, each complete.

use anyhow::Result;

use crate::cluster::{Cluster, User};
use crate::install::Installation;

/// The line that makes a shell's `kubectl` and `grpcurl` look at this cluster. `MECHANIC` is where its coordinators are.
pub fn shell(cluster: &Cluster, installation: &Installation) -> Result<String> {
    let kubeconfig = cluster.kubeconfig(User::Person);
    let programs = cluster.programs().folder();
    let coordinator = installation.coordinator_address()?;
    let (kubeconfig, programs) = (kubeconfig.display(), programs.display());
    Ok(format!("export KUBECONFIG=\"{kubeconfig}\" PATH=\"{programs}:$PATH\" MECHANIC={coordinator}"))
}

/// Lines to try in the shell (bash or zsh) that [`shell`] makes; the last two explain `node` and follow its probe, until Ctrl-C.
#[must_use]
pub fn look_inside(node: &str) -> Vec<String> {
    // Made anew for each call, since it expires after an hour.
    let token = "$(kubectl -n mechanic create token mechanic-viewer --audience mechanic-coordinator)";
    let authorities = r"<(kubectl -n mechanic get configmap mechanic-ca -o jsonpath='{.data.ca\.crt}')";
    let trust = format!("-authority mechanic-coordinator -cacert {authorities}");
    let call = format!("grpcurl {trust} -H \"authorization: Bearer {token}\"");
    let about = format!("-d '{{\"nodeName\": \"{node}\"}}'");
    vec![
        "kubectl get nodes".to_owned(),
        format!("{call} $MECHANIC mechanic.v1.FleetService/ListNodes"),
        format!("{call} {about} $MECHANIC mechanic.v1.FleetService/ExplainNode"),
        format!("{call} {about} $MECHANIC mechanic.v1.FleetService/WatchObservations"),
    ]
}
