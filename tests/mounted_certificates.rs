//! mechanic with certificates of somebody else's, as the cert-manager overlay mounts them. cert-manager is played by this
//! test: it makes the Secrets that the overlay's Certificates name.

use std::path::PathBuf;

use crate::support::House;
use crate::support::shell::{Shell, lines_of};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mechanic_sandbox::{programs::workspace, workloads::Workload};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

const CERTIFICATE: &str = "mechanic-coordinator-certificate";

/// An authority, and what it is known by.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What cert-manager puts into a Secret, and what tells one such certificate from another.
struct Issued {
    data: Value,
    /// An authority between the certificate and the one that probes trust: who trusts this one alone believes no other
    /// certificate.
    between: String,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Authority {
    fn new() -> Self {
        let (params, key) = (authority_params("root"), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, name: &str) -> Issued {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        let between = params.signed_by(&key, &self.issuer).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["mechanic-coordinator".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
        let data = json!({ "tls.crt": leaf + &between, "tls.key": key.serialize_pem(), "ca.crt": self.pem });
        Issued { data, between }
    }
}

/// cert-manager's kinds and the Secrets that it has made, as a manifest.
fn beforehand(authority: &Authority, issued: &Issued) -> tempfile::NamedTempFile {
    let secret = |name: &str, data: &Value| {
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": name, "namespace": "mechanic" }, "stringData": data })
    };
    let objects = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "mechanic" } }),
        secret(CERTIFICATE, &issued.data),
        // Of the probes' own they are to be shown no more than the authority.
        secret("mechanic-probe-certificate", &authority.issue("for the probes").data),
    ];
    let kinds = std::fs::read_to_string(workspace().join("tests/overlays/kinds-of-others.yaml")).unwrap();
    let manifest: Vec<String> = std::iter::once(kinds).chain(objects.iter().map(Value::to_string)).collect();
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), manifest.join("\n---\n")).unwrap();
    file
}

impl House {
    async fn with_certificates(manifest: PathBuf) -> Self {
        Self::with(3, 1, |options| {
            options.overlay = workspace().join("deploy/overlays/cert-manager");
            options.beforehand = Some(manifest);
        })
        .await
    }

    /// Waits until each coordinator presents what came through this authority, and nothing older.
    async fn wait_presented(&self, new: &Issued, old: &Issued) {
        for pod in self.installation.coordinators() {
            self.wait(&format!("{} presents the new certificate", pod.pod), async || {
                self.is_believed(&pod, &new.between).await.then_some(())
            })
            .await;
            assert!(!self.is_believed(&pod, &old.between).await);
        }
    }
}

impl House {
    /// By the line of docs/debugging.md, with what it says of this overlay put in.
    async fn answers_who_reads_the_page(&self) {
        let page = include_str!("../docs/debugging.md");
        let fleet = lines_of(page).into_iter().find(|line| line.starts_with("fleet()")).unwrap();
        let of_mechanics = fleet.split("<(").nth(1).unwrap().split(") -H").next().unwrap();
        let of_secret = page.split('`').find(|words| words.contains("get secret")).unwrap();
        let fleet = fleet.replace(of_mechanics, of_secret);
        let listed = Shell::of(self).json(&format!("{fleet}\nfleet ListNodes '{{}}'")).await;
        assert_eq!(listed["nodes"].as_array().unwrap().len(), self.nodes.len(), "{listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_is_seen_through_with_mounted_certificates_and_a_renewed_one_drops_no_stream() {
    let authority = Authority::new();
    let (first, renewed) = (authority.issue("first"), authority.issue("renewed"));
    let manifest = beforehand(&authority, &first);
    let house = House::with_certificates(manifest.path().to_owned()).await;
    house.wait_presented(&first, &renewed).await;

    house.deploy(&Workload::new("web", 4).spread(), Some(1)).await;
    let node = house.node_without_coordinator();
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "drained").await;
    house.start(&event);
    house.power_off(node).await;
    house.power_on(node).await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.answers_who_reads_the_page().await;

    let streams = house.accepted_streams();
    let secrets: Api<Secret> = Api::namespaced(house.client.clone(), "mechanic");
    let patch = Patch::Merge(json!({ "stringData": renewed.data }));
    secrets.patch(CERTIFICATE, &PatchParams::default(), &patch).await.unwrap();
    house.wait_presented(&renewed, &first).await;
    assert_eq!(house.accepted_streams(), streams, "a stream was dropped");
    // Nor does it turn away who comes from now on.
    crate::support::kill(house.installation.probe_on(&node.name).unwrap().pid.unwrap());
    house
        .wait("a probe that starts anew is let in", async || {
            (house.accepted_streams() > streams).then_some(())
        })
        .await;

    let kept = secrets.get_opt("mechanic-authority").await.unwrap();
    assert!(kept.is_none(), "mechanic has made an authority of its own");
    for pod in house.installation.pods() {
        assert!(!house.logs_of(&pod).contains("PRIVATE KEY"));
    }
    house.judge().await;
}
