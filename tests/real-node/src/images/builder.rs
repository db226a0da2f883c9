//! The stand-in for the image that the Dockerfiles build in: Debian with a C compiler, and this machine's own Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use mechanic_sandbox::programs::workspace;

use crate::enclosure::{self, Network};
use crate::say;

/// About thrice what one build of all takes.
const STORAGE_GIB_AT_MOST: u32 = 10;

/// Makes it where there is none, or one of another Rust; some minutes.
pub(super) async fn prepare(folder: &Path) -> Result<()> {
    let dockerfile =
        fs::read_to_string(workspace().join("Dockerfile.probe")).context("can't read Dockerfile.probe")?;
    let name = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("FROM ")?.split(' ').next())
        .context("Dockerfile.probe is FROM nothing")?;
    let rust = output("rustc", &["--version", "--verbose"]).await?;
    let debian = debian()?;
    let made_of = format!("{name} {debian}\n{rust}");
    let stamp = folder.join("builder.stamp");
    forget_old_layers(folder, &stamp).await?;
    if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_of) {
        return Ok(());
    }
    say(&format!("building a stand-in for the image {name}: Debian {debian} with this machine's Rust"));
    let root = folder.join("builder");
    let _ = fs::remove_dir_all(&root);
    debootstrap(folder, &root, &debian).await?;
    copy_rust(&root).await?;
    // Whoever stands between here and the registries of crates is known to this machine.
    let authorities = "etc/ssl/certs/ca-certificates.crt";
    fs::copy(Path::new("/").join(authorities), root.join(authorities))
        .context("can't copy the authorities")?;
    let dockerfile = folder.join("Dockerfile.builder");
    fs::write(&dockerfile, "FROM scratch\nCOPY . /\nENV CARGO_HOME=/usr/local/cargo\n")
        .context("can't write the stand-in's Dockerfile")?;
    super::buildah(folder, name, |command| {
        command.args(["bud", "--isolation", "chroot", "--format", "docker", "--tag", name]);
        command.arg("--file").arg(&dockerfile).arg(&root);
    })
    .await?;
    fs::remove_dir_all(&root).context("can't remove what the stand-in was made of")?;
    fs::write(&stamp, made_of).context("can't write the stand-in's stamp")
}

/// Each change of the sources adds layers that nobody uses later, and those in use can't be told from them.
async fn forget_old_layers(folder: &Path, stamp: &Path) -> Result<()> {
    let storage = folder.join("storage");
    if !storage.exists() {
        let _ = fs::remove_file(stamp);
        return Ok(());
    }
    let said = output("du", &["--summarize", "--block-size=1G", &storage.display().to_string()]).await?;
    let size: u32 = said.split_whitespace().next().unwrap_or_default().parse().context("du gives no size")?;
    if size > STORAGE_GIB_AT_MOST {
        say(&format!("the images' layers take {size} GiB: beginning anew"));
        let _ = fs::remove_file(stamp);
        fs::remove_dir_all(&storage).context("can't remove the images' layers")?;
    }
    Ok(())
}

async fn debootstrap(folder: &Path, root: &Path, debian: &str) -> Result<()> {
    let log = folder.join("debootstrap.log");
    let output = fs::File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
    let mut command = enclosure::command(Network::Machine);
    command
        .args(["debootstrap", "--variant=minbase", "--include=ca-certificates,gcc,libc6-dev", debian])
        .arg(root);
    command.stdin(Stdio::null()).stdout(output.try_clone().context("can't share a log")?).stderr(output);
    if !command.status().await.context("can't run debootstrap")?.success() {
        bail!("debootstrap failed; its log is {}", log.display());
    }
    for of_no_use in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        let _ = fs::remove_dir_all(root.join(of_no_use));
    }
    Ok(())
}

/// Where an image of Rust's makers has it: on the path, with the texts that go with it.
async fn copy_rust(root: &Path) -> Result<()> {
    let sysroot = PathBuf::from(output("rustc", &["--print", "sysroot"]).await?.trim());
    let to = root.join("usr/local");
    let documents = to.join("share/doc/rust");
    fs::create_dir_all(&documents).context("can't create a folder in the stand-in")?;
    let from = |name: &str| sysroot.join(name);
    let texts = ["share/doc/rust/COPYRIGHT-library.html", "share/doc/rust/licenses"];
    for (sources, target) in [(["bin", "lib"].map(from), &to), (texts.map(from), &documents)] {
        let mut command = tokio::process::Command::new("cp");
        command.arg("--archive").args(sources).arg(target);
        if !command.status().await.context("can't run cp")?.success() {
            bail!("can't copy Rust from {}", sysroot.display());
        }
    }
    Ok(())
}

/// What the release of this machine's Debian is called.
fn debian() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("can't read /etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(|name| name.trim_matches('"').to_owned()).context("/etc/os-release names no release of Debian")
}

async fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        tokio::process::Command::new(program).args(arguments).current_dir(workspace()).output().await;
    let output = output.with_context(|| format!("can't run {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
