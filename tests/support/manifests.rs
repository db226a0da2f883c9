//! What kustomize makes of the overlays in `deploy/`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use mechanic_sandbox::programs::{ClusterPrograms, silent, workspace};
use serde_json::Value;

/// The overlays, all of them, by name.
pub(crate) fn overlays() -> Vec<(String, PathBuf)> {
    let folders = std::fs::read_dir(workspace().join("deploy/overlays")).unwrap();
    let mut overlays: Vec<_> = folders
        .map(|folder| folder.unwrap())
        .map(|folder| (folder.file_name().into_string().unwrap(), folder.path()))
        .collect();
    overlays.sort();
    assert!(overlays.len() >= 5, "{overlays:?}");
    overlays
}

/// All overlays, built once for all tests, by name.
pub(crate) static BUILT: LazyLock<BTreeMap<String, Vec<Value>>> =
    LazyLock::new(|| overlays().into_iter().map(|(name, folder)| (name, built(&folder))).collect());

/// The overlay of this name, built.
pub(crate) fn overlay(name: &str) -> &'static [Value] {
    &BUILT[name]
}

/// What kustomize builds from a folder.
pub(crate) fn built(folder: &Path) -> Vec<Value> {
    let programs = ClusterPrograms::prepare(&silent()).unwrap();
    let built = Command::new(programs.kubectl()).arg("kustomize").arg(folder).output().unwrap();
    assert!(built.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&built.stderr));
    let text = String::from_utf8(built.stdout).unwrap();
    text.split("\n---\n").map(|object| serde_saphyr::from_str(object).unwrap()).collect()
}

/// The objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The one object of this kind and name.
pub(crate) fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let mut found = objects.iter().filter(is_it);
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "two of {kind} {name}");
    object
}

/// The folder of a kustomization of somebody's own, which goes with it. `mechanic` in it leads to this workspace.
pub(crate) fn own_kustomization(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(workspace(), folder.path().join("mechanic")).unwrap();
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    folder
}

fn kustomizations(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.filter(|block| block.contains("resources:"))
}

/// The kustomization of docs/install.md that has these words in it.
pub(crate) fn kustomization_of_the_page(words: &str) -> &'static str {
    kustomizations(include_str!("../../docs/install.md"))
        .find(|block| block.contains(words))
        .expect("docs/install.md shows no such kustomization")
}

/// The kustomization that README.md shows, over the overlay of this name.
pub(crate) fn kustomization_of_the_readme(overlay: &str) -> String {
    let shown =
        kustomizations(include_str!("../../README.md")).next().expect("README.md shows no kustomization");
    assert!(shown.contains("deploy/overlays/default"), "{shown}");
    shown.replace("deploy/overlays/default", &format!("deploy/overlays/{overlay}"))
}
