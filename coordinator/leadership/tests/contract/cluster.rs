//! etcd and kube-apiserver for this test.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

const EXEC: &str = "MECHANIC_CONTRACT_EXEC";

pub(crate) struct Cluster {
    pub(crate) dir: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) audit_log: PathBuf,
    children: Vec<Child>,
}

/// In a process started for this: becomes the program named in the environment.
pub(crate) fn exec_if_asked() -> Option<Result<()>> {
    let program = env::var(EXEC).ok()?;
    let exec = || -> Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let error = Command::new(&program).args(env::args().skip(1)).env_remove(EXEC).exec();
        Err(error).context(program.clone())
    };
    Some(exec())
}

impl Cluster {
    pub(crate) async fn start() -> Result<Self> {
        let dir = env::temp_dir().join(format!("mechanic-contract-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sandbox/bin");
        let (etcd_port, peer_port, api_port) = (free_port()?, free_port()?, free_port()?);
        fs::write(dir.join("tokens.csv"), "admin-token,admin,admin,system:masters\n")?;
        fs::write(
            dir.join("audit.yaml"),
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n",
        )?;
        let key = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(dir.join("sa.key"))
            .stderr(Stdio::null())
            .status()?;
        anyhow::ensure!(key.success());
        let mut cluster = Self {
            kubeconfig: dir.join("kubeconfig"),
            audit_log: dir.join("audit.log"),
            children: Vec::new(),
            dir: dir.clone(),
        };
        let d = dir.display();
        let etcd = format!("http://127.0.0.1:{etcd_port}");
        cluster.run(
            &bin.join("etcd"),
            &[
                format!("--data-dir={d}/etcd"),
                "--unsafe-no-fsync".into(),
                format!("--listen-client-urls={etcd}"),
                format!("--advertise-client-urls={etcd}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
                "--log-level=warn".into(),
            ],
        )?;
        cluster.run(
            &bin.join("kube-apiserver"),
            &[
                format!("--etcd-servers={etcd}"),
                "--bind-address=127.0.0.1".into(),
                "--advertise-address=127.0.0.1".into(),
                format!("--secure-port={api_port}"),
                format!("--cert-dir={d}/certs"),
                "--authorization-mode=Node,RBAC".into(),
                format!("--token-auth-file={d}/tokens.csv"),
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
                format!("--service-account-signing-key-file={d}/sa.key"),
                format!("--service-account-key-file={d}/sa.key"),
                "--service-cluster-ip-range=10.96.0.0/16".into(),
                "--endpoint-reconciler-type=none".into(),
                format!("--audit-policy-file={d}/audit.yaml"),
                format!("--audit-log-path={d}/audit.log"),
            ],
        )?;
        let ca = dir.join("certs/apiserver.crt");
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{api_port}"), "certificate-authority": ca}}],
            "users": [{"name": "u", "user": {"token": "admin-token"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        fs::write(&cluster.kubeconfig, kubeconfig.to_string())?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if ca.exists() {
                let config = crate::candidate::client_config(&cluster.kubeconfig).await?;
                let ready = kube::Client::try_from(config)?
                    .request_text(http::Request::get("/readyz").body(vec![])?)
                    .await;
                if ready.is_ok() {
                    return Ok(cluster);
                }
            }
            if Instant::now() > deadline {
                bail!("the API server is not ready after a minute");
            }
        }
    }

    fn run(&mut self, program: &Path, args: &[String]) -> Result<()> {
        let name = program.file_name().context("a program")?.to_string_lossy().into_owned();
        let log = fs::File::create(self.dir.join(format!("{name}.log")))?;
        let child = Command::new(env::current_exe()?)
            .args(args)
            .env(EXEC, program)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.children.push(child);
        Ok(())
    }

    pub(crate) fn signal_api_server(&self, signal: Signal) -> Result<()> {
        let child = self.children.last().context("an API server")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            drop(child.kill());
            drop(child.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
