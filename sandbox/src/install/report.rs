//! What a kubelet tells about a pod: to the API server, and to whoever in the sandbox looks.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};

use super::lifecycle::Lifecycle;
use super::pods::PodProcess;
use super::status::{Now, Status};

/// How long until a deletion that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Lifecycle {
    /// The last words of a kubelet about a pod: its containers have ended, the object may go.
    pub(super) async fn finish(&mut self) {
        let mut power = self.power.clone();
        let gone = self.gone.clone();
        tokio::select! {
            () = gone.cancelled() => return,
            _ = power.wait_for(|power| power.on) => {}
        }
        let now = self.course.last.clone().map_or(
            Now::Waiting { reason: "ContainerCreating", message: "the pod was deleted before".into() },
            Now::Terminated,
        );
        self.say(&now, false).await;
        let pod = Arc::clone(&self.pod.borrow());
        let name = pod.metadata.name.clone().unwrap_or_default();
        let last = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        while !gone.is_cancelled() {
            match self.api().delete(&name, &last).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => break,
                Err(error) => {
                    tracing::warn!("pod {name} can't be finished off yet: {error}");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Writes the status. A kubelet that can't goes on all the same and says it again with the next change.
    pub(super) async fn say(&mut self, now: &Now, ready: bool) {
        if ready != self.course.ready {
            self.course.ready = ready;
            self.course.ready_since = Timestamp::now();
        }
        let (restarts, pod) = (self.course.restarts, Arc::clone(&self.pod.borrow()));
        let ip = self.ip.to_string();
        let status = Status {
            container: &self.container,
            ip: &ip,
            host_ip: &self.surroundings.host_ip,
            pod_started: self.course.started,
            now,
            ready,
            restarts,
            last: self.course.last.as_ref(),
            ready_since: self.course.ready_since,
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let patch = Patch::Strategic(status.patch());
        if let Err(error) = self.api().patch_status(&name, &PatchParams::default(), &patch).await
            && !matches!(&error, kube::Error::Api(status) if status.code == 404)
        {
            tracing::warn!("the status of pod {name} can't be written: {error}");
        }
        self.pods_update(|process| {
            process.ready = ready;
            process.restarts = restarts;
        });
    }

    /// What the API server says about it.
    pub(super) fn shown_ready(&self) -> bool {
        crate::workloads::is_ready(&self.pod.borrow())
    }

    fn api(&self) -> Api<Pod> {
        let namespace = self.pod.borrow().metadata.namespace.clone().unwrap_or_default();
        Api::namespaced(self.surroundings.client.clone(), &namespace)
    }

    pub(super) fn uid(&self) -> String {
        self.pod.borrow().metadata.uid.clone().unwrap_or_default()
    }

    pub(super) fn pods_update(&self, change: impl FnOnce(&mut PodProcess)) {
        self.surroundings.pods.update(&self.uid(), change);
    }

    pub(super) fn register(&self) {
        let pod = Arc::clone(&self.pod.borrow());
        self.surroundings.pods.insert(PodProcess {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            uid: self.uid(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            ip: self.ip,
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            pid: None,
            ready: false,
            restarts: 0,
            terminating: pod.metadata.deletion_timestamp.is_some(),
            container: self.container.clone(),
        });
    }
}
