//! Files with which kubectl, mechanic and people find a sandbox's API server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

/// How the bearer of a kubeconfig says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A token, as it is.
    Token(String),
    /// A file with a token that may be replaced while it is in use.
    TokenFile(PathBuf),
}

/// What a kubeconfig says.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// `https://…`, or `http://…` where a proxy stands in front.
    pub server: String,
    /// The server's authority; none for plain http.
    pub certificate_authority: Option<PathBuf>,
    /// What the context and the user are called.
    pub name: String,
    /// Who the bearer is.
    pub credentials: Credentials,
}

impl Kubeconfig {
    /// Writes it, as JSON, which is YAML too.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut cluster = json!({ "server": self.server });
        if let Some(authority) = &self.certificate_authority {
            cluster["certificate-authority"] = json!(authority);
        }
        let user = match &self.credentials {
            Credentials::Token(token) => json!({ "token": token }),
            Credentials::TokenFile(file) => json!({ "tokenFile": file }),
        };
        let file = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.name,
            "clusters": [{ "name": "sandbox", "cluster": cluster }],
            "users": [{ "name": self.name, "user": user }],
            "contexts": [{ "name": self.name, "context": { "cluster": "sandbox", "user": self.name } }],
        });
        std::fs::write(path, format!("{file:#}\n")).with_context(|| format!("can't write {}", path.display()))
    }
}
