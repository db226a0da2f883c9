//! The images: mechanic's from their Dockerfiles, and one of busybox for what is on a node beside mechanic.
//!
//! Nothing is pulled. The Dockerfiles' builder has a [stand-in](builder) of its name.

mod builder;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use mechanic_sandbox::programs::workspace;

use crate::enclosure::{self, Network};
use crate::say;

/// Busybox, alone: what pods' namespaces are kept by, and what the workload is.
pub(crate) const BUSYBOX: &str = "busybox:real-node";
/// What people are told to type for mechanic's own.
const PAGE: &str = include_str!("../../../docs/images.md");
/// What the probe's may have in all, in bytes, uncompressed.
const PROBE_AT_MOST: u64 = 6_000_000;

/// An image in a file that containerd can import.
#[derive(Debug)]
pub(crate) struct Image {
    name: String,
    archive: PathBuf,
    seconds: u64,
}

impl Image {
    /// Its size and how long it took, for people.
    pub(crate) fn describe(&self) -> String {
        let bytes = self.archive.metadata().map_or(0, |file| file.len());
        let (whole, rest) = (bytes / 1_000_000, bytes % 1_000_000 / 10_000);
        format!("{}: {whole}.{rest:02} MB uncompressed, built in {} s", self.name, self.seconds)
    }
}

/// Where the archives lie.
pub(crate) fn archives(folder: &Path) -> PathBuf {
    folder.join("archives")
}

/// Builds what has changed, and looks into what came out.
pub(crate) async fn build(folder: &Path) -> Result<Vec<Image>> {
    fs::create_dir_all(archives(folder)).context("can't create the folder of the images' archives")?;
    let _ = fs::remove_file(folder.join("buildah.log"));
    builder::prepare(folder).await?;
    let context = folder.join("busybox");
    fs::create_dir_all(&context).context("can't create the folder of busybox's image")?;
    let busybox = crate::requirements::find("busybox").context("there is no busybox")?;
    fs::copy(busybox, context.join("busybox")).context("can't copy busybox")?;
    let dockerfile = context.join("Dockerfile");
    fs::write(
        &dockerfile,
        "FROM scratch\nCOPY busybox /\nENTRYPOINT [\"/busybox\", \"sleep\", \"2147483647\"]\n",
    )
    .context("can't write the Dockerfile of busybox's image")?;
    build_one(folder, BUSYBOX, &dockerfile, &context).await?;
    let mut images = Vec::new();
    for line in PAGE.lines().filter_map(|line| line.strip_prefix("docker build ")) {
        let &["-f", dockerfile, "-t", image, context] = line.split(' ').collect::<Vec<_>>().as_slice() else {
            bail!("docs/images.md builds an image in another way than is tried here: {line}");
        };
        let (dockerfile, context) = (workspace().join(dockerfile), workspace().join(context));
        let image = build_one(folder, image, &dockerfile, &context).await?;
        look_into(&image).await?;
        images.push(image);
    }
    let probe =
        archives(folder).join("mechanic-probe.tar").metadata().context("the probe's image is gone")?.len();
    if probe > PROBE_AT_MOST {
        bail!("the probe's image has {probe} bytes, and may have {PROBE_AT_MOST}");
    }
    Ok(images)
}

async fn build_one(folder: &Path, name: &str, dockerfile: &Path, context: &Path) -> Result<Image> {
    let begun = Instant::now();
    say(&format!("building the image {name}"));
    let arguments =
        ["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--layers", "--tag", name];
    buildah(folder, name, |command| {
        command.args(arguments).arg("--file").arg(dockerfile).arg(context);
    })
    .await?;
    let archive = archives(folder).join(format!("{}.tar", name.split(':').next().unwrap_or(name)));
    let _ = fs::remove_file(&archive);
    let target = format!("docker-archive:{}:{name}", archive.display());
    buildah(folder, name, |command| {
        command.args(["push", name, &target]);
    })
    .await?;
    Ok(Image { name: name.to_owned(), archive, seconds: begun.elapsed().as_secs() })
}

/// Runs buildah with a storage of our own; `what` names the image in an error's message.
async fn buildah(folder: &Path, what: &str, add: impl FnOnce(&mut tokio::process::Command)) -> Result<()> {
    let log = folder.join("buildah.log");
    let output =
        fs::OpenOptions::new().create(true).append(true).open(&log).context("can't write buildah's log")?;
    let mut command = enclosure::command(Network::Machine);
    command.args(["buildah", "--storage-driver", "overlay", "--root"]).arg(folder.join("storage"));
    // What it says of mounts is true in one enclosure only.
    let volatile = folder.join("run");
    let _ = fs::remove_dir_all(&volatile);
    command.arg("--runroot").arg(volatile.join("buildah"));
    add(&mut command);
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("can't share buildah's log")?)
        .stderr(output);
    let status = command.status().await.context("can't run buildah")?;
    if !status.success() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        bail!("buildah can't make the image {what}:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
    }
    Ok(())
}

/// A program and its licences, and nothing else; whoever runs it isn't root.
async fn look_into(image: &Image) -> Result<()> {
    let script = r#"
        folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT && tar -xf "$1" -C "$folder" && cd "$folder" &&
        for layer in $(find . -name '*.tar' -type f); do tar -tf "$layer"; done | grep -v '/$' | sort &&
        cat $(find . -maxdepth 1 -name '*.json' ! -name manifest.json)"#;
    let output = tokio::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&image.archive)
        .output()
        .await
        .context("can't look into an image")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (files, config) = text.split_once("\n{").with_context(|| format!("{} has no layers", image.name))?;
    let files: Vec<&str> = files.lines().collect();
    let program = image.name.split(':').next().unwrap_or_default();
    let licences = ["c-library.txt", "crates.txt", "mechanic.txt", "rust-library.html"]
        .map(|file| format!("licences/{file}"));
    let expected: Vec<&str> = licences.iter().map(String::as_str).chain([program]).collect();
    if files != expected {
        bail!("{} holds {files:?} instead of {expected:?}", image.name);
    }
    let config: serde_json::Value =
        serde_json::from_str(&format!("{{{config}")).context("the image's configuration can't be read")?;
    let (user, labels) = (&config["config"]["User"], &config["config"]["Labels"]);
    if user != "65532:65532" {
        bail!("{} runs as {user}", image.name);
    }
    // The last two are what a build has that is told nothing.
    let wanted =
        [("title", program), ("licenses", "Apache-2.0"), ("version", "dev"), ("revision", "unknown")];
    let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default();
    let wrong = wanted.iter().find(|(name, value)| label(name) != *value);
    if wrong.is_some() || label("description").is_empty() {
        bail!("{} is labelled {labels}, and wanted is a description and {wanted:?}", image.name);
    }
    Ok(())
}
