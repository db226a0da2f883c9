//! The coordinator that is asked who leads: the last one that has answered.

use tonic::transport::Channel;

use super::Coordinators;

/// It may be cut off from all news, so another is asked after so many questions.
const MOST_QUESTIONS: u32 = 6;

/// Its connection is kept as long as nobody leads: 5,000 probes that made a new one for each question would keep a
/// coordinator busy with handshakes.
pub(super) struct Guide {
    coordinators: Coordinators,
    connection: Option<Channel>,
    questions: u32,
}

impl Guide {
    pub(super) fn new(coordinators: Coordinators) -> Self {
        Self { coordinators, connection: None, questions: 0 }
    }

    /// The connection to ask the next question on.
    pub(super) async fn connection(&mut self) -> anyhow::Result<Channel> {
        if self.questions >= MOST_QUESTIONS {
            self.dismiss();
        }
        self.questions += 1;
        match &self.connection {
            Some(connection) => Ok(connection.clone()),
            None => self.coordinators.connect(&self.coordinators.address).await,
        }
    }

    /// Whoever is behind this connection has answered, and doesn't lead.
    pub(super) fn becomes(&mut self, connection: Channel) {
        self.connection = Some(connection);
    }

    /// The next question goes to whoever is reached then.
    pub(super) fn dismiss(&mut self) {
        self.connection = None;
        self.questions = 0;
    }
}
