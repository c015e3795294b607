//! Streams of any protocol: those opened on command, and those served (echo and reset).
//!
//! libp2p-stream drops inbound streams that come faster than they are taken, which would spoil the
//! tests of many streams at once; this behaviour starts a task for each of them instead.

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{
    InboundUpgrade, Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, UpgradeInfo, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandlerInEvent, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};
use tokio::sync::oneshot;

pub const ECHO: StreamProtocol = StreamProtocol::new("/fastmarket/interop/echo/1.0.0");
pub const RESET: StreamProtocol = StreamProtocol::new("/fastmarket/interop/reset/1.0.0");

type Opened = oneshot::Sender<Result<Stream, String>>;
type Served = Arc<Mutex<HashSet<StreamProtocol>>>;

pub struct Behaviour {
    served: Served,
    queue: VecDeque<(PeerId, Open)>,
}

#[derive(Debug)]
pub struct Open {
    protocol: StreamProtocol,
    reply: Opened,
}

impl Behaviour {
    pub fn new() -> Self {
        Self {
            served: Arc::new(Mutex::new([ECHO, RESET].into())),
            queue: VecDeque::new(),
        }
    }

    /// Opens a stream of a connection that exists. Without one the other end hears nothing and closes.
    pub fn open(
        &mut self,
        peer: PeerId,
        protocol: StreamProtocol,
    ) -> oneshot::Receiver<Result<Stream, String>> {
        let (reply, opened) = oneshot::channel();
        self.queue.push_back((peer, Open { protocol, reply }));
        opened
    }

    /// Serves one more protocol, as echo.
    pub fn serve(&mut self, protocol: StreamProtocol) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.insert(protocol);
    }

    fn handler(&self) -> Handler {
        Handler {
            served: self.served.clone(),
            queue: VecDeque::new(),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // No waker: the queue grows only between two polls of the swarm.
        match self.queue.pop_front() {
            Some((peer_id, event)) => Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::Any,
                event,
            }),
            None => Poll::Pending,
        }
    }
}

pub struct Handler {
    served: Served,
    queue: VecDeque<Open>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Infallible;
    type InboundProtocol = AnyOf;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opened;

    fn listen_protocol(&self) -> SubstreamProtocol<AnyOf> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        SubstreamProtocol::new(AnyOf(served.iter().cloned().collect()), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Opened, Infallible>> {
        match self.queue.pop_front() {
            Some(Open { protocol, reply }) => {
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                    protocol: SubstreamProtocol::new(ReadyUpgrade::new(protocol), reply),
                })
            }
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, open: Open) {
        self.queue.push_back(open);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<AnyOf, ReadyUpgrade<StreamProtocol>, (), Opened>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => {
                tokio::spawn(serve(stream, protocol));
            }
            // Who asked may have run into the timeout; nobody misses the stream then.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info,
            }) => drop(info.send(Ok(stream))),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => {
                drop(info.send(Err(error.to_string())));
            }
            _ => {}
        }
    }
}

async fn serve(mut stream: Stream, protocol: StreamProtocol) {
    if protocol == RESET {
        // A stream that is dropped while it is open is reset.
        let _ = stream.read_exact(&mut [0]).await;
        return;
    }
    let (reader, mut writer) = stream.split();
    if futures::io::copy(reader, &mut writer).await.is_ok() {
        let _ = writer.close().await;
    }
}

/// Any of several protocols, without a handshake of its own.
pub struct AnyOf(Vec<StreamProtocol>);

impl UpgradeInfo for AnyOf {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for AnyOf {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
