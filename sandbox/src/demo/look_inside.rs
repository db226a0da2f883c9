//! How to look into a cluster that is up: lines to paste into a shell, each complete.

use anyhow::Result;

use crate::cluster::{Cluster, User};
use crate::install::Installation;

/// The line that makes a shell's `kubectl` and `grpcurl` look at this cluster.
#[must_use]
pub fn shell(cluster: &Cluster) -> String {
    let kubeconfig = cluster.kubeconfig(User::Person);
    let programs = cluster.programs().folder();
    format!("export KUBECONFIG=\"{}\" PATH=\"{}:$PATH\"", kubeconfig.display(), programs.display())
}

/// Lines to try in the shell (bash or zsh) that [`shell`] makes; the last two explain `node` and follow its probe, until Ctrl-C.
pub fn look_inside(installation: &Installation, node: &str) -> Result<Vec<String>> {
    let coordinator = installation.coordinator_address()?;
    // Made anew for each call, since it expires after an hour.
    let token = "$(kubectl -n mechanic create token mechanic-viewer --audience mechanic-coordinator)";
    let authorities = r"<(kubectl -n mechanic get configmap mechanic-ca -o jsonpath='{.data.ca\.crt}')";
    let trust = format!("-cacert {authorities} -authority mechanic-coordinator");
    let call = format!("grpcurl {trust} -H \"authorization: Bearer {token}\"");
    let about = format!("-d '{{\"nodeName\": \"{node}\"}}'");
    Ok(vec![
        "kubectl get nodes".to_owned(),
        format!("{call} {coordinator} mechanic.v1.FleetService/ListNodes"),
        format!("{call} {about} {coordinator} mechanic.v1.FleetService/ExplainNode"),
        format!("{call} {about} {coordinator} mechanic.v1.FleetService/WatchObservations"),
    ])
}
