//! What a machine must have to run real nodes.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cgroups::Cgroups;

/// Programs, and the Debian packages that they come in.
const PROGRAMS: [(&str, &str); 11] = [
    ("buildah", "buildah"),
    ("busybox", "busybox-static"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("runc", "runc"),
    ("setpriv", "util-linux"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
];

/// Where Debian has the plugins that connect pods.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

/// What is missing here, in words that complete "real nodes can't run here:".
pub(crate) fn missing() -> Option<String> {
    if !Path::new("/etc/debian_version").exists() {
        return Some("the machine isn't Debian, whose packages they are made of".into());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("that takes root".into());
    }
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if !Path::new(CNI_PLUGINS).join("ptp").exists() {
        packages.push("containernetworking-plugins");
    }
    packages.dedup();
    if !packages.is_empty() {
        return Some(format!("these packages are missing: {}", packages.join(" ")));
    }
    if let Err(error) = Cgroups::create() {
        return Some(format!("{error:#}"));
    }
    let tried = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "mount",
            "-t",
            "tmpfs",
            "tmpfs",
            "/run",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !tried.is_ok_and(|status| status.success()) {
        return Some("the kernel doesn't let us make namespaces with mounts of their own".into());
    }
    None
}

/// Where a program lies.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
