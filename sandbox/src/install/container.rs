//! What a container's process is called with: a pure reading of the pod's spec, by the kubelet's rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};

/// Where the probe looks for the coordinators' authorities.
pub(super) const AUTHORITIES: &str = "/var/run/mechanic/authorities";
/// Where a container finds the token and authority of the API server, if the pod has any.
pub(super) const API_CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What the downward API can tell about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodFacts {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) node: String,
    pub(super) service_account: String,
    pub(super) ip: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl PodFacts {
    pub(super) fn of(pod: &Pod, ip: &str) -> Result<Self> {
        let spec = pod.spec.as_ref().context("the pod has no spec")?;
        let meta = &pod.metadata;
        Ok(Self {
            name: meta.name.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            node: spec.node_name.clone().context("the pod is on no node yet")?,
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".into()),
            ip: ip.to_owned(),
            labels: meta.labels.clone().unwrap_or_default(),
        })
    }

    /// The value of a downward API path such as `metadata.name`.
    pub(super) fn field(&self, path: &str) -> Result<String> {
        let label = path.strip_prefix("metadata.labels['").and_then(|rest| rest.strip_suffix("']"));
        if let Some(label) = label {
            return Ok(self.labels.get(label).cloned().unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => self.name.clone(),
            "metadata.namespace" => self.namespace.clone(),
            "metadata.uid" => self.uid.clone(),
            "spec.nodeName" => self.node.clone(),
            "spec.serviceAccountName" => self.service_account.clone(),
            "status.podIP" | "status.podIPs" => self.ip.clone(),
            other => bail!("the sandbox's kubelet doesn't know the field {other} of the downward API"),
        })
    }
}

/// Data of ConfigMaps by name, as far as a pod's environment refers to them.
pub(super) type ConfigMaps = BTreeMap<String, BTreeMap<String, String>>;

/// Names of the ConfigMaps that the container's environment refers to.
pub(super) fn config_maps_of(container: &Container) -> Vec<String> {
    let from_variables =
        container.env.iter().flatten().filter_map(|variable| {
            Some(variable.value_from.as_ref()?.config_map_key_ref.as_ref()?.name.clone())
        });
    let whole = container
        .env_from
        .iter()
        .flatten()
        .filter_map(|source| Some(source.config_map_ref.as_ref()?.name.clone()));
    from_variables.chain(whole).collect()
}

/// The container's environment in order; a later variable may refer to earlier ones as `$(NAME)`.
pub(super) fn environment(
    container: &Container,
    facts: &PodFacts,
    config_maps: &ConfigMaps,
) -> Result<BTreeMap<String, String>> {
    let mut known = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let Some(reference) = &source.config_map_ref else {
            bail!("the sandbox's kubelet takes envFrom from ConfigMaps only");
        };
        let prefix = source.prefix.clone().unwrap_or_default();
        let data = config_maps.get(&reference.name).cloned().unwrap_or_default();
        known.extend(data.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(variable, facts, config_maps, &known)? {
            known.insert(variable.name.clone(), value);
        }
    }
    Ok(known)
}

fn value_of(
    variable: &EnvVar,
    facts: &PodFacts,
    config_maps: &ConfigMaps,
    known: &BTreeMap<String, String>,
) -> Result<Option<String>> {
    let EnvVarSource { field_ref, config_map_key_ref, .. } = match &variable.value_from {
        Some(source) => source.clone(),
        None => return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), known))),
    };
    if let Some(field) = field_ref {
        return facts.field(&field.field_path).map(Some);
    }
    if let Some(key) = config_map_key_ref {
        let value = config_maps.get(&key.name).and_then(|data| data.get(&key.key)).cloned();
        if value.is_none() && key.optional != Some(true) {
            bail!("ConfigMap {} has no key {}, which variable {} needs", key.name, key.key, variable.name);
        }
        return Ok(value);
    }
    bail!("the sandbox's kubelet doesn't know where variable {} comes from", variable.name)
}

/// Replaces `$(NAME)` by the variable's value. An unknown name stays as it is, `$$(NAME)` is an escaped `$(NAME)`.
pub(super) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            result.push('$');
            rest = after;
            continue;
        }
        let name = rest.strip_prefix("$(").and_then(|inner| Some(&inner[..inner.find(')')?]));
        let Some(name) = name else {
            result.push('$');
            rest = &rest[1..];
            continue;
        };
        let whole = &rest[..name.len() + 3];
        result.push_str(known.get(name).map_or(whole, String::as_str));
        rest = &rest[whole.len()..];
    }
    result + rest
}

/// The arguments behind the program's name. A `command` replaces the image's entry point, which here is the program
/// of the image's name in any case.
pub(super) fn arguments(container: &Container, known: &BTreeMap<String, String>) -> Vec<String> {
    let from_command = container.command.iter().flatten().skip(1);
    from_command.chain(container.args.iter().flatten()).map(|text| expand(text, known)).collect()
}

/// The name by which a program is known: the image without registry, tag and digest.
pub(super) fn program_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last)
}

/// Where the container's mounts really are. A process without a mount namespace sees this machine's paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Mounts(Vec<(String, PathBuf)>);

impl Mounts {
    /// `volumes` holds one folder per volume.
    pub(super) fn of(container: &Container, volumes: &Path) -> Self {
        let mut mounts: Vec<(String, PathBuf)> = container
            .volume_mounts
            .iter()
            .flatten()
            .map(|mount| {
                let volume = volumes.join(&mount.name);
                let real = mount.sub_path.as_ref().map_or_else(|| volume.clone(), |sub| volume.join(sub));
                (mount.mount_path.trim_end_matches('/').to_owned(), real)
            })
            .collect();
        // The longest first: a mount may lie below another one.
        mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self(mounts)
    }

    /// The real place of a path in the container, if it is in a mount.
    pub(super) fn real(&self, path: &str) -> Option<PathBuf> {
        self.0.iter().find_map(|(mount, real)| {
            let below = path.strip_prefix(mount.as_str())?;
            if below.is_empty() {
                return Some(real.clone());
            }
            below.strip_prefix('/').map(|below| real.join(below))
        })
    }

    /// The same argument or value with a path into a mount replaced by the real one: the text as a whole, or what
    /// stands behind its `=`.
    pub(super) fn rewrite(&self, text: &str) -> String {
        if let Some(real) = self.real(text) {
            return real.display().to_string();
        }
        if let Some((flag, value)) = text.split_once('=')
            && let Some(real) = self.real(value)
        {
            return format!("{flag}={}", real.display());
        }
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts() -> PodFacts {
        PodFacts {
            name: "probe-abc".into(),
            namespace: "mechanic".into(),
            uid: "u-1".into(),
            node: "node-1".into(),
            service_account: "mechanic-probe".into(),
            ip: "127.9.9.9".into(),
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn variables_come_from_values_fields_config_maps_and_each_other() {
        let container: Container = serde_json::from_value(json!({ "name": "c",
            "command": ["/bin/program", "run"],
            "args": ["--listen=$(POD_IP):7443", "$(UNKNOWN)", "$$(POD_IP)", "5$"],
            "env": [
                { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                { "name": "URL", "value": "http://$(POD_IP)/" },
                { "name": "LIMIT", "valueFrom": { "configMapKeyRef": { "name": "m", "key": "limit" } } },
                { "name": "MAYBE", "valueFrom": { "configMapKeyRef": { "name": "m", "key": "x", "optional": true } } },
            ] }))
        .unwrap();
        assert_eq!(config_maps_of(&container), ["m", "m"]);
        let maps = BTreeMap::from([("m".to_owned(), BTreeMap::from([("limit".to_owned(), "2".to_owned())]))]);
        let known = environment(&container, &facts(), &maps).unwrap();
        assert_eq!(known["URL"], "http://127.9.9.9/");
        assert_eq!(known["LIMIT"], "2");
        assert!(!known.contains_key("MAYBE"));
        assert_eq!(
            arguments(&container, &known),
            ["run", "--listen=127.9.9.9:7443", "$(UNKNOWN)", "$(POD_IP)", "5$"]
        );
        let without = environment(&container, &facts(), &ConfigMaps::new()).unwrap_err();
        assert!(without.to_string().contains("no key limit"), "{without}");
    }

    #[test]
    fn an_image_names_its_program() {
        assert_eq!(program_name("mechanic-probe:dev"), "mechanic-probe");
        assert_eq!(program_name("registry:5000/team/mechanic-probe@sha256:00"), "mechanic-probe");
    }

    #[test]
    fn paths_into_mounts_become_real_ones() {
        let container: Container = serde_json::from_value(json!({ "name": "c", "volumeMounts": [
            { "name": "token", "mountPath": "/var/run/secrets/mechanic" },
            { "name": "all", "mountPath": "/var/run/" },
        ] }))
        .unwrap();
        let mounts = Mounts::of(&container, Path::new("/volumes"));
        assert_eq!(mounts.rewrite("/var/run/secrets/mechanic/token"), "/volumes/token/token");
        assert_eq!(mounts.rewrite("--file=/var/run/x"), "--file=/volumes/all/x");
        assert_eq!(mounts.rewrite("/var/running"), "/var/running");
    }
}
