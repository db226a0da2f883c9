//! Child processes whose life is tied to ours: however we end, they end.
//!
//! A child is started through a small re-exec of the sandbox's own binary ([`run_if_asked`]), which asks the kernel
//! to kill it when its parent dies, and only then becomes the program. The kernel watches the *thread* that forked,
//! so one thread that never ends starts them all.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};
use tokio::sync::watch;

use crate::programs;

/// The hidden subcommand of the sandbox's binary that becomes a child.
const SUBCOMMAND: &str = "child";
/// How long a drop waits for a killed process to be gone.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// What to start.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// What people call it; used in messages.
    pub name: String,
    /// The program's path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, besides ours.
    pub env: Vec<(OsString, OsString)>,
    /// Whether it gets nothing of our own environment.
    pub clear_env: bool,
    /// Both outputs are appended here.
    pub log: PathBuf,
}

impl ChildSpec {
    /// A program without arguments, with our environment.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            log: log.into(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

/// A running process. Dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: u32,
    log: PathBuf,
    /// Names this very process, so that no signal ever reaches a later one with the same number.
    handle: OwnedFd,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts it. A program that can't be executed ends at once with status 127 and says why in its log.
    pub fn start(spec: &ChildSpec) -> Result<Self> {
        if !spec.program.exists() {
            bail!("can't start {}: there is no program at {}", spec.name, spec.program.display());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.log)
            .with_context(|| format!("can't open {}, the log of {}", spec.log.display(), spec.name))?;
        let mut command = Command::new(programs::launcher()?);
        if spec.clear_env {
            command.env_clear();
        }
        command
            .arg(SUBCOMMAND)
            .arg(std::process::id().to_string())
            .arg(&spec.program)
            .args(&spec.args)
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("can't share a log file")?)
            .stderr(log)
            // A group of its own: Ctrl-C in a terminal reaches us alone, and we end them in order.
            .process_group(0);
        let mut process =
            spawn_from_the_lasting_thread(command).with_context(|| format!("can't start {}", spec.name))?;
        let pid = process.id();
        let handle = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| anyhow!("process {pid} has no usable number"))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
        let handle = match handle {
            Ok(handle) => handle,
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                return Err(error.context(format!("can't get hold of the process of {}", spec.name)));
            }
        };
        let (tell, ended) = watch::channel(None);
        thread::Builder::new()
            .name(format!("wait-{pid}"))
            .stack_size(64 * 1024)
            .spawn(move || {
                let status = process.wait().unwrap_or_else(|_| ExitStatus::from_raw(-1));
                tell.send_replace(Some(status));
            })
            .context("can't start a thread that waits for a child")?;
        Ok(Self { name: spec.name.clone(), pid, log: spec.log.clone(), handle, ended })
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file with its outputs.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits until it has ended.
    pub async fn wait(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = ended.wait_for(Option::is_some).await;
        status.ok().and_then(|status| *status).unwrap_or_else(|| ExitStatus::from_raw(-1))
    }

    /// Sends a signal. Nothing happens if the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("can't signal {}", self.name)),
        }
    }

    /// Halts it as it is: its connections stay open and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen one go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends it without asking.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// SIGTERM, and SIGKILL if it is still there after `grace`.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.thaw()?;
        if let Ok(status) = tokio::time::timeout(grace, self.wait()).await {
            return Ok(status);
        }
        self.kill()?;
        Ok(self.wait().await)
    }

    /// The end of its log, for a message that has to say why it ended.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing can be done about an error here; the death of our own process still ends it.
        let _ = self.kill();
        let begun = Instant::now();
        while self.status().is_none() && begun.elapsed() < KILL_WAIT {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

type Order = (Command, mpsc::Sender<io::Result<std::process::Child>>);

fn spawn_from_the_lasting_thread(command: Command) -> Result<std::process::Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        // Ends only with the process, since this sender lives in a static.
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, result) = mpsc::channel();
    spawner.send((command, answer)).map_err(|_| anyhow!("the thread that starts children is gone"))?;
    Ok(result.recv().context("the thread that starts children is gone")??)
}

/// The first thing in the sandbox's `main`: where this process was started to become a child, it does and never
/// returns; `None` means that it is the sandbox itself.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let mut args = env::args_os().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let error = become_child(args);
    // The one place that writes to the child's log in its stead.
    report(&error);
    Some(ExitCode::from(127))
}

fn become_child(mut args: impl Iterator<Item = OsString>) -> anyhow::Error {
    let Some(parent) = args.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok()) else {
        return anyhow!(
            "`{SUBCOMMAND}` is the sandbox's own business: the first argument is its parent's number"
        );
    };
    let Some(program) = args.next() else { return anyhow!("`{SUBCOMMAND}` needs a program to become") };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return anyhow!(error).context("can't tie this process's life to its parent's");
    }
    // The parent may have died before the line above.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return anyhow!("the sandbox that asked for this process is gone");
    }
    let error = Command::new(&program).args(args).exec();
    anyhow!(error).context(format!("can't execute {}", Path::new(&program).display()))
}

fn report(error: &anyhow::Error) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "{error:#}");
}
