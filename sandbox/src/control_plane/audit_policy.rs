//! What the API server writes down about each request.

/// Who asked for what, always; nodes and leases with their new version, which orders the writes; evictions and deletions of
/// pods with what was asked. Reads stay without a body: a list of 1,000 nodes has megabytes. kwok's own writes are left out, since
/// they are the kubelets' and would bury the rest.
pub(super) const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [kwok]
  resources:
  - group: ""
    resources: [nodes/status, pods/status, events]
  - group: coordination.k8s.io
    resources: [leases]
- level: RequestResponse
  verbs: [create, update, patch, delete]
  resources:
  - group: ""
    resources: [nodes]
  - group: coordination.k8s.io
    resources: [leases]
- level: Request
  resources:
  - group: ""
    resources: [pods/eviction]
- level: Request
  verbs: [delete]
  resources:
  - group: ""
    resources: [pods]
- level: Metadata
"#;
