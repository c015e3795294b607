//! The task that owns the swarm, and the handle by which commands reach it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    core::Endpoint,
    identify,
    kad::{self, GetProvidersOk, QueryId, QueryResult, store::MemoryStore},
    noise, ping,
    swarm::{
        ConnectionId, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use tokio::sync::{mpsc, oneshot};

use crate::{Result, keys, library_version, options::Options, streams};

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
    pub kad: kad::Behaviour<MemoryStore>,
    pub streams: streams::Behaviour,
}

type Addresses = HashMap<PeerId, Vec<Multiaddr>>;
type Job = Box<dyn FnOnce(&mut Driver) + Send>;

pub struct Driver {
    pub swarm: Swarm<Behaviour>,
    pub identified: HashMap<PeerId, identify::Info>,
    kad_protocol: StreamProtocol,
    dials: HashMap<ConnectionId, oneshot::Sender<std::result::Result<(), String>>>,
    queries: HashMap<QueryId, mpsc::UnboundedSender<(QueryResult, Addresses)>>,
}

pub struct Node {
    pub id: PeerId,
    jobs: mpsc::UnboundedSender<Job>,
}

/// Starts the node and tells the addresses it listens on.
pub async fn start(options: &Options) -> Result<(Node, Vec<String>)> {
    let key = keys::new_key(&options.key_type, options.seed)?;
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|key| {
            let id = key.public().to_peer_id();
            Behaviour {
                identify: identify::Behaviour::new(
                    identify::Config::new_with_signed_peer_record(
                        "fastmarket-interop/1".to_owned(),
                        key,
                    )
                    .with_agent_version(format!("rust-libp2p/{}", library_version())),
                ),
                ping: ping::Behaviour::default(),
                kad: kad::Behaviour::with_config(
                    id,
                    MemoryStore::new(id),
                    kad::Config::new(options.kad_protocol.clone()),
                ),
                streams: streams::Behaviour::new(),
            }
        })?
        // Tests hold idle connections, and open many streams at once.
        .with_swarm_config(|c| {
            c.with_idle_connection_timeout(Duration::from_secs(24 * 3600))
                .with_max_negotiating_inbound_streams(1024)
        })
        .build();
    swarm.behaviour_mut().kad.set_mode(Some(options.mode));

    let mut listeners = HashSet::new();
    for addr in &options.listen {
        listeners.insert(swarm.listen_on(addr.clone())?);
    }
    while !listeners.is_empty() {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                listeners.remove(&listener_id);
            }
            SwarmEvent::ListenerClosed { reason, .. } => reason?,
            _ => {}
        }
    }
    // Kad announces a provider by its external addresses only, and other nodes refuse one without.
    let addrs: Vec<_> = swarm.listeners().cloned().collect();
    for addr in addrs {
        swarm.add_external_address(addr);
    }
    let id = *swarm.local_peer_id();
    let listen = swarm.listeners().map(|a| format!("{a}/p2p/{id}")).collect();
    let (jobs, queue) = mpsc::unbounded_channel();
    let driver = Driver {
        swarm,
        identified: HashMap::new(),
        kad_protocol: options.kad_protocol.clone(),
        dials: HashMap::new(),
        queries: HashMap::new(),
    };
    tokio::spawn(driver.run(queue));
    Ok((Node { id, jobs }, listen))
}

impl Driver {
    async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        loop {
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => job(&mut self),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    let _ = dial.send(Ok(()));
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    let _ = dial.send(Err(error.to_string()));
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => {
                self.identified.remove(&peer_id);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                // Kad takes no address of peers that dialed us: only they know where they listen.
                if info.protocols.contains(&self.kad_protocol) {
                    for addr in &info.listen_addrs {
                        let kad = &mut self.swarm.behaviour_mut().kad;
                        kad.add_address(&peer_id, addr.clone());
                    }
                }
                self.identified.insert(peer_id, info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id,
                result,
                step,
                ..
            })) => {
                let addresses = self.addresses_of_providers(&result);
                if let Some(query) = self.queries.get(&id) {
                    let _ = query.send((result, addresses));
                }
                if step.last {
                    self.queries.remove(&id);
                }
            }
            _ => {}
        }
    }

    /// Results name providers without their addresses; those the query learned can be had from Kad
    /// while the query runs, by asking where it would dial.
    fn addresses_of_providers(&mut self, result: &QueryResult) -> Addresses {
        let QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) =
            result
        else {
            return Addresses::new();
        };
        let kad = &mut self.swarm.behaviour_mut().kad;
        let mut addresses = Addresses::new();
        for &peer in providers {
            let found = kad.handle_pending_outbound_connection(
                ConnectionId::new_unchecked(0),
                Some(peer),
                &[],
                Endpoint::Dialer,
            );
            let unique: BTreeSet<_> = found.unwrap_or_default().into_iter().collect();
            addresses.insert(peer, unique.into_iter().collect());
        }
        addresses
    }
}

impl Node {
    /// Runs a function on the task that owns the swarm.
    pub async fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |driver| {
            let _ = reply.send(f(driver));
        });
        self.jobs.send(job).map_err(|_| "the node has stopped")?;
        Ok(answer.await?)
    }

    pub async fn connect(&self, addr: &str) -> Result<PeerId> {
        let addr: Multiaddr = addr.parse()?;
        let Some(libp2p::multiaddr::Protocol::P2p(peer)) = addr.iter().last() else {
            return Err("the address does not end in /p2p".into());
        };
        let dialed = self
            .with(move |d| {
                let opts = DialOpts::peer_id(peer)
                    .condition(PeerCondition::Always)
                    .addresses(vec![addr])
                    .build();
                if d.swarm.is_connected(&peer) {
                    return Ok(None);
                }
                let (reply, dialed) = oneshot::channel();
                d.dials.insert(opts.connection_id(), reply);
                d.swarm.dial(opts).map(|()| Some(dialed))
            })
            .await??;
        if let Some(dialed) = dialed {
            dialed.await??;
        }
        Ok(peer)
    }

    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Result<Stream> {
        let opened = self
            .with(move |d| d.swarm.behaviour_mut().streams.open(peer, protocol))
            .await?;
        Ok(opened.await.map_err(|_| "not connected")??)
    }

    /// Starts a query; its results end with the channel.
    pub async fn query<E: std::error::Error + Send + Sync + 'static>(
        &self,
        start: impl FnOnce(&mut kad::Behaviour<MemoryStore>) -> std::result::Result<QueryId, E>
        + Send
        + 'static,
    ) -> Result<mpsc::UnboundedReceiver<(QueryResult, Addresses)>> {
        let results = self
            .with(move |d| {
                let id = start(&mut d.swarm.behaviour_mut().kad)?;
                let (sender, results) = mpsc::unbounded_channel();
                d.queries.insert(id, sender);
                Ok::<_, E>(results)
            })
            .await?;
        Ok(results?)
    }

    /// Waits for what the library does in the background.
    pub async fn poll<T: Send + 'static>(
        &self,
        f: impl Fn(&mut Driver) -> Option<T> + Clone + Send + 'static,
    ) -> Result<T> {
        loop {
            if let Some(value) = self.with(f.clone()).await? {
                return Ok(value);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
