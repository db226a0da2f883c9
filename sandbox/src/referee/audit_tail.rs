//! Follows the audit log while the API server writes it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::audit;
use super::memory::Memory;
use super::promises::Promises;

const PAUSE: Duration = Duration::from_millis(50);

/// Reads for ever; what it can't read becomes a blind spot.
pub(super) async fn follow(path: PathBuf, promises: Promises, memory: Arc<Memory>) {
    let mut lines = Lines::default();
    let mut file = loop {
        match File::open(&path).await {
            Ok(file) => break file,
            // The API server makes it with its first line.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => tokio::time::sleep(PAUSE).await,
            Err(error) => return memory.blind(format!("the audit log can't be opened: {error}")),
        }
    };
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk).await {
            Ok(0) => tokio::time::sleep(PAUSE).await,
            Ok(read) => {
                for line in lines.push(chunk.get(..read).unwrap_or_default()) {
                    take(&line, &promises, &memory);
                }
            }
            Err(error) => return memory.blind(format!("the audit log can't be read: {error}")),
        }
    }
}

fn take(line: &str, promises: &Promises, memory: &Memory) {
    match audit::read(line) {
        Ok(Some(request)) => {
            memory.passed(&request.uri);
            if promises.matter(&request) {
                memory.request(request);
            }
        }
        Ok(None) => {}
        Err(error) => memory.blind(format!("{error:#}")),
    }
}

/// Puts lines together that come in pieces.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_written_in_pieces_is_one_line() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"{\"a\":"), Vec::<String>::new());
        assert_eq!(lines.push(b"1}\n{\"b\":2}\n{\"c\""), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(lines.push(b":3}\n"), ["{\"c\":3}"]);
    }
}
