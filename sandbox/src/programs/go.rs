//! The programs from Go modules. A stamp beside each says what it was made of, so that it is made once.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Progress, build, workspace};

pub(super) struct Program {
    name: &'static str,
    package: &'static str,
    module: &'static str,
}

const CONTROL_PLANE: &str = "sandbox/control-plane";
const TOOLS: &str = "sandbox/tools";
const DNS: &str = "sandbox/dns";

/// A control plane, kwok for kubelets, and the tools to look into it.
pub(super) const CLUSTER: [Program; 7] = [
    Program {
        name: "kube-apiserver",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        module: CONTROL_PLANE,
    },
    Program {
        name: "kube-controller-manager",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        module: CONTROL_PLANE,
    },
    Program {
        name: "kube-scheduler",
        package: "k8s.io/kubernetes/cmd/kube-scheduler",
        module: CONTROL_PLANE,
    },
    Program { name: "kubectl", package: "k8s.io/kubernetes/cmd/kubectl", module: CONTROL_PLANE },
    Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", module: CONTROL_PLANE },
    Program { name: "kwok", package: "sigs.k8s.io/kwok/cmd/kwok", module: TOOLS },
    Program { name: "grpcurl", package: "github.com/fullstorydev/grpcurl/cmd/grpcurl", module: TOOLS },
];

/// What a node has that isn't kwok's.
pub(super) const NODE: [Program; 3] = [
    Program { name: "kubelet", package: "k8s.io/kubernetes/cmd/kubelet", module: CONTROL_PLANE },
    Program { name: "kube-proxy", package: "k8s.io/kubernetes/cmd/kube-proxy", module: CONTROL_PLANE },
    Program { name: "coredns", package: "github.com/coredns/coredns", module: DNS },
];

/// Builds into `folder` what isn't there yet. Two sandboxes at once build once: the second waits for the first.
pub(super) fn build_all(programs: &[Program], folder: &Path, progress: &Progress) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't create {}", folder.display()))?;
    let lock = File::create(folder.join(".lock")).context("can't create the lock of the program folder")?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress("another sandbox is building the programs: waiting for it");
            lock.lock().context("can't wait for the other sandbox")?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("can't lock the program folder"),
    }
    let mut go_is_there = false;
    for program in programs {
        let made_of = made_of(program)?;
        let stamp = folder.join(format!(".{}.stamp", program.name));
        let binary = folder.join(program.name);
        if binary.exists() && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_of) {
            continue;
        }
        if !go_is_there {
            look_for_go()?;
            go_is_there = true;
        }
        let fresh = folder.join(format!("{}.new", program.name));
        let mut command = Command::new("go");
        command
            .args(["build", "-trimpath", "-ldflags", &link_flags(program)?, "-o"])
            .arg(&fresh)
            .arg(program.package)
            .current_dir(workspace().join(program.module))
            .env("GOWORK", "off")
            // No C compiler needed, and the same result where there is one.
            .env("CGO_ENABLED", "0");
        build::run(program.name, command, &folder.join(format!("{}.log", program.name)), progress)?;
        fs::rename(&fresh, &binary).with_context(|| format!("can't put {} in its place", program.name))?;
        fs::write(&stamp, made_of).with_context(|| format!("can't write {}", stamp.display()))?;
    }
    Ok(())
}

fn look_for_go() -> Result<()> {
    match Command::new("go").arg("version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!(
            "the sandbox builds its Kubernetes control plane with Go, and there is no `go` here: install Go 1.26 or later"
        ),
    }
}

/// Without a version the API server calls itself v0.0.0, and some clients complain.
fn link_flags(program: &Program) -> Result<String> {
    if program.module != CONTROL_PLANE {
        return Ok("-s -w".into());
    }
    let version = kubernetes_version()?;
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let variable = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {variable}.gitVersion={version} -X {variable}.gitMajor={major} -X {variable}.gitMinor={minor}"
    ))
}

fn kubernetes_version() -> Result<String> {
    let file = read(&workspace().join(CONTROL_PLANE).join("go.mod"))?;
    file.lines()
        .find_map(|line| {
            line.trim().trim_start_matches("require ").strip_prefix("k8s.io/kubernetes ")?.split(' ').next()
        })
        .map(str::to_owned)
        .context("sandbox/control-plane/go.mod names no version of k8s.io/kubernetes")
}

fn made_of(program: &Program) -> Result<String> {
    let module = workspace().join(program.module);
    let mut hash = DefaultHasher::new();
    read(&module.join("go.mod"))?.hash(&mut hash);
    read(&module.join("go.sum"))?.hash(&mut hash);
    Ok(format!("CGO_ENABLED=0 {} {} {:016x}\n", program.package, link_flags(program)?, hash.finish()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}
