//! The metadata service of one virtual machine, answering what the test says.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

pub const COMPUTE: &str = include_str!("../imds-samples/97-compute-metadata-vmss-uniform.json");
pub const EMPTY: &str = include_str!("../imds-samples/01-empty.json");
pub const FREEZE: &str = include_str!("../imds-samples/02-freeze-host-maintenance-scheduled.json");

/// How the service answers one kind of question.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16, String),
    After(Duration, String),
    Hang,
    /// Closes the connection without a word.
    Close,
    /// Points elsewhere.
    Location(String),
}

impl Answer {
    pub fn ok(body: &str) -> Self {
        Self::Status(200, body.to_owned())
    }
}

struct Answers {
    compute: Answer,
    events: Answer,
    requests: Vec<String>,
    open: u32,
    most_open: u32,
}

pub struct Imds {
    pub address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    server: JoinHandle<()>,
}

impl Imds {
    pub async fn start(compute: Answer, events: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Answers { compute, events, requests: Vec::new(), open: 0, most_open: 0 };
        let answers = Arc::new(Mutex::new(answers));
        let shared = answers.clone();
        let server = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(connection, shared.clone()));
            }
        });
        Self { address, answers, server }
    }

    pub async fn well(events: &str) -> Self {
        Self::start(Answer::ok(COMPUTE), Answer::ok(events)).await
    }

    pub fn events(&self, answer: Answer) {
        self.answers.lock().unwrap().events = answer;
    }

    pub fn compute(&self, answer: Answer) {
        self.answers.lock().unwrap().compute = answer;
    }

    /// Heads of the requests so far, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.answers.lock().unwrap().requests.clone()
    }

    /// The most polls for events that were open at once.
    pub fn most_open(&self) -> u32 {
        self.answers.lock().unwrap().most_open
    }
}

impl Drop for Imds {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut connection: TcpStream, answers: Arc<Mutex<Answers>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let polls = head.starts_with("get /metadata/scheduledevents?api-version=2020-07-01 ");
    let answer = {
        let mut answers = answers.lock().unwrap();
        answers.requests.push(head.clone());
        if polls {
            answers.open += 1;
            answers.most_open = answers.most_open.max(answers.open);
        }
        match () {
            () if !head.contains("\r\nmetadata: true\r\n") => Answer::Status(400, "Bad Request".to_owned()),
            () if polls => answers.events.clone(),
            () if head.starts_with("get /metadata/instance/compute?api-version=") => answers.compute.clone(),
            () => Answer::Status(404, "Not Found".to_owned()),
        }
    };
    let reply = |status: u16, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status} X\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let text = match answer {
        Answer::Status(status, body) => reply(status, "", &body),
        Answer::Location(target) => reply(302, &format!("Location: {target}\r\n"), ""),
        Answer::After(pause, body) => {
            sleep(pause).await;
            reply(200, "", &body)
        }
        Answer::Hang => {
            // Until the other side gives up.
            let _ = connection.read_u8().await;
            String::new()
        }
        Answer::Close => String::new(),
    };
    let _ = connection.write_all(text.as_bytes()).await;
    if polls {
        answers.lock().unwrap().open -= 1;
    }
}
