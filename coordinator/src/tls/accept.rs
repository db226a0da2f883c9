//! Connections, with the handshake behind them: a caller that takes its time over it holds up nobody else.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::transport::server::Connected;

use super::Identity;
use crate::metrics::{Metrics, Open};

/// Twice what 5,000 probes need. At some 50 kB each, all of them fit in the coordinator's memory.
const CONNECTIONS: usize = 10_000;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Finished handshakes that wait to be served.
const WAITING: usize = 64;
/// After an accept that failed: most likely there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts for as long as somebody takes what comes.
pub(crate) fn incoming(
    listeners: Vec<TcpListener>,
    identity: &Identity,
    metrics: &Metrics,
) -> impl Stream<Item = io::Result<Connection>> + use<> {
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config()));
    let (sender, receiver) = mpsc::channel(WAITING);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    for listener in listeners {
        tokio::spawn(accept(listener, Arc::clone(&room), acceptor.clone(), sender.clone(), metrics.clone()));
    }
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    room: Arc<Semaphore>,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<io::Result<Connection>>,
    metrics: Metrics,
) {
    loop {
        // Who comes when there is no room waits in the kernel's queue.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(shake_hands(stream, acceptor.clone(), permit, sender.clone(), metrics.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    permit: OwnedSemaphorePermit,
    sender: mpsc::Sender<io::Result<Connection>>,
    metrics: Metrics,
) {
    // Messages are small and each is waited for.
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        // Nobody takes it where the server has ended.
        Ok(Ok(stream)) => drop(
            sender.send(Ok(Connection { stream, _permit: permit, _counted: metrics.connection() })).await,
        ),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            metrics.handshake_failed("tls");
        }
        Err(_) => {
            metrics.handshake_failed("timeout");
            tracing::debug!("a handshake took too long");
        }
    }
}

/// One that counts until it is closed.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    _permit: OwnedSemaphorePermit,
    _counted: Open,
}

impl Connected for Connection {
    type ConnectInfo = <TcpStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.get_ref().0.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
