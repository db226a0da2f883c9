//! The coordinators' authority: made once, replaced with an overlap, and left to others where people want that.

use std::collections::BTreeMap;

use crate::support::{
    House, kill,
    shell::{Shell, lines_of},
};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use mechanic_sandbox::install::PodProcess;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;

/// In place of five minutes. The kubelets here read a ConfigMap again after at most 20 s.
const OVERLAP: &str = "40s";

impl House {
    async fn with_overlap() -> Self {
        Self::with(3, 1, |options| {
            options.env.insert("MECHANIC_AUTHORITY_OVERLAP".into(), OVERLAP.into());
        })
        .await
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), "mechanic")
    }

    async fn authority(&self) -> String {
        let data = self.secrets().get("mechanic-authority").await.unwrap().data.unwrap();
        String::from_utf8(data["tls.crt"].0.clone()).unwrap()
    }

    async fn replace_authority(&self, (certificate, key): (&str, &str)) {
        let data: BTreeMap<_, _> = [("tls.crt", certificate), ("tls.key", key)]
            .map(|(part, text)| (part, ByteString(text.as_bytes().to_vec())))
            .into();
        let patch = Patch::Merge(json!({ "data": data }));
        self.secrets().patch("mechanic-authority", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn announced(&self) -> String {
        self.installation.authorities().await.unwrap_or_default()
    }
}

fn new_authority() -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// By the lines of docs/configuration.md; returns the new certificate. Where there is no `openssl`, in place of the first
/// line the files are made as it would.
async fn replaced_as_documented(house: &House) -> String {
    let lines = lines_of(include_str!("../docs/configuration.md"));
    let [make, put] = lines.try_into().expect("other lines than are run here");
    let folder = tempfile::tempdir().unwrap();
    let shell = Shell::of(house).in_folder(folder.path());
    if shell.run("command -v openssl || true").await.is_empty() {
        let (certificate, key) = new_authority();
        std::fs::write(folder.path().join("authority.crt"), certificate).unwrap();
        std::fs::write(folder.path().join("authority.key"), key).unwrap();
    } else {
        shell.run(&make).await;
    }
    shell.run(&put).await;
    std::fs::read_to_string(folder.path().join("authority.crt")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_authority_is_announced_before_it_signs_and_no_stream_is_dropped() {
    let house = House::with_overlap().await;
    let nodes = house.nodes.len();
    house.wait("all probes report", async || (house.accepted_streams() == nodes).then_some(())).await;
    let old = house.authority().await;
    let new = replaced_as_documented(&house).await;
    let both = async || {
        let announced = house.announced().await;
        (announced.contains(old.trim()) && announced.contains(new.trim())).then_some(())
    };
    house.wait("both authorities are announced", both).await;
    let leader = house.leader().await;
    assert!(house.is_believed(&leader, &old).await, "the new one signs before every probe has read of it");
    house.wait("the new one signs", async || house.is_believed(&leader, &new).await.then_some(())).await;
    assert!(!house.is_believed(&leader, &old).await);
    assert_eq!(house.accepted_streams(), nodes, "a stream was dropped");

    kill(leader.pid.unwrap());
    house.wait("all report anew", async || (house.accepted_streams() >= 2 * nodes).then_some(())).await;
    // A bundle that somebody has deleted comes back.
    let config_maps: Api<ConfigMap> = Api::namespaced(house.client.clone(), "mechanic");
    config_maps.delete("mechanic-ca", &DeleteParams::default()).await.unwrap();
    house
        .wait("it is announced again", async || house.announced().await.contains(new.trim()).then_some(()))
        .await;
    for pod in house.installation.coordinators() {
        assert!(!house.logs_of(&pod).contains("PRIVATE KEY"));
    }
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_makes_no_sense_is_not_followed_and_a_start_waits_for_one_that_does() {
    let house = House::with_overlap().await;
    let (good, good_key) = new_authority();
    let (_, key_of_another) = new_authority();
    house.replace_authority((&good, &key_of_another)).await;
    let leader = house.leader().await;
    let complains = async |pod: &PodProcess, part: &str| house.logs_of(pod).contains(part).then_some(());
    house.wait("the slip is told", async || complains(&leader, "is not the key of").await).await;
    assert!(!house.announced().await.contains(good.trim()));
    // Who runs goes on; who starts has nothing to sign with.
    kill(leader.pid.unwrap());
    let restarted = async || {
        let pod = house.installation.pod(&leader.pod).ok()?;
        (pod.pid.is_some() && pod.pid != leader.pid && !pod.ready).then_some(pod)
    };
    let pod = house.wait("it starts anew", restarted).await;
    house.wait("it says what it waits for", async || complains(&pod, "not serving yet").await).await;
    house.replace_authority((&good, &good_key)).await;
    let ready = async || house.installation.pod(&leader.pod).ok()?.ready.then_some(());
    house.wait("it serves", ready).await;
    house.judge().await;
}
