//! What the commands do.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use cid::Cid;
use futures::{
    AsyncReadExt, AsyncWriteExt,
    future::{try_join, try_join_all},
};
use libp2p::{
    PeerId, StreamProtocol,
    kad::{
        GetClosestPeersError, GetProvidersOk, GetRecordOk, PutRecordError, QueryResult, Quorum,
        Record, RecordKey,
    },
    ping,
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Command, Result,
    driver::Node,
    streams::{ECHO, RESET},
};

const CHUNK: usize = 64 << 10;
const MAX_RAW: u64 = 1 << 20;

/// The result of one command, or nothing for an op that is not known.
pub async fn run(node: &Node, c: &Command) -> Result<Option<Value>> {
    let result = match c.op.as_str() {
        "connect" => connect(node, c).await?,
        "disconnect" => disconnect(node, c).await?,
        "connections" => connections(node).await?,
        "identify" => identify(node, c).await?,
        "push" => push(node, c).await?,
        "ping" => ping(node, c).await?,
        "echo" => echo(node, c, c.streams, Duration::ZERO).await?,
        "echo_slow" => echo(node, c, 1, Duration::from_secs(1)).await?,
        "reset" => reset(node, c).await?,
        "raw" => raw(node, c).await?,
        "bootstrap" => bootstrap(node, c).await?,
        "routing_table" => routing_table(node).await?,
        "find_node" => find_node(node, c).await?,
        "put_value" => put_value(node, c).await?,
        "get_value" => get_value(node, c).await?,
        "provide" => provide(node, c).await?,
        "find_providers" => find_providers(node, c).await?,
        _ => return Ok(None),
    };
    Ok(Some(result))
}

async fn connect(node: &Node, c: &Command) -> Result<Value> {
    let peer = node.connect(&c.addr).await?;
    Ok(json!({"peer_id": peer.to_string()}))
}

async fn disconnect(node: &Node, c: &Command) -> Result<Value> {
    let peer: PeerId = c.peer.parse()?;
    node.with(move |d| d.swarm.disconnect_peer_id(peer))
        .await?
        .map_err(|()| "not connected")?;
    // The connection is closed in the background.
    node.poll(move |d| (!d.swarm.is_connected(&peer)).then_some(()))
        .await?;
    Ok(json!({}))
}

async fn connections(node: &Node) -> Result<Value> {
    let peers = node.with(|d| texts(d.swarm.connected_peers())).await?;
    Ok(json!({"peers": peers}))
}

async fn identify(node: &Node, c: &Command) -> Result<Value> {
    let peer: PeerId = c.peer.parse()?;
    let info = node.poll(move |d| d.identified.get(&peer).cloned()).await?;
    Ok(json!({
        "agent_version": info.agent_version,
        "protocol_version": info.protocol_version,
        "protocols": texts(&info.protocols),
        "listen_addrs": texts(&info.listen_addrs),
        "observed_addr": info.observed_addr.to_string(),
        "public_key": BASE64_STANDARD.encode(info.public_key.encode_protobuf()),
        // The library knows its own legacy form only, so a record it drops may well be valid.
        "signed_peer_record": info.signed_peer_record.map(|_| true),
    }))
}

async fn push(node: &Node, c: &Command) -> Result<Value> {
    let protocol = StreamProtocol::try_from_owned(c.protocol.clone())?;
    node.with(|d| {
        let peers: Vec<_> = d.swarm.connected_peers().copied().collect();
        d.swarm.behaviour_mut().streams.serve(protocol);
        d.swarm.behaviour_mut().identify.push(peers);
    })
    .await?;
    Ok(json!({}))
}

/// Pings by a stream of its own: the library's pings go at intervals and cannot be asked for.
async fn ping(node: &Node, c: &Command) -> Result<Value> {
    let mut stream = node.open(c.peer.parse()?, ping::PROTOCOL_NAME).await?;
    let mut random = ChaCha20Rng::from_entropy();
    let count = c.count.max(1);
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let (mut sent, mut received) = ([0; 32], [0; 32]);
        random.fill_bytes(&mut sent);
        let start = Instant::now();
        stream.write_all(&sent).await?;
        stream.flush().await?;
        stream.read_exact(&mut received).await?;
        if sent != received {
            return Err("other bytes came back".into());
        }
        slowest = slowest.max(start.elapsed());
    }
    stream.close().await?;
    Ok(json!({"count": count, "max_ms": slowest.as_secs_f64() * 1000.0}))
}

async fn echo(node: &Node, c: &Command, streams: u64, delay: Duration) -> Result<Value> {
    let peer = c.peer.parse()?;
    let one = |pattern| echo_stream(node, peer, c.size, pattern, delay);
    let sizes = try_join_all((0..streams.max(1)).map(one)).await?;
    Ok(json!({"bytes": sizes.iter().sum::<u64>(), "sha256_ok": true}))
}

/// Sends `size` bytes of a pattern and reads them back after the delay.
async fn echo_stream(
    node: &Node,
    peer: PeerId,
    size: u64,
    pattern: u64,
    delay: Duration,
) -> Result<u64> {
    let (mut reader, mut writer) = node.open(peer, ECHO).await?.split();
    let send = async {
        let mut random = ChaCha20Rng::seed_from_u64(pattern);
        let mut hash = Sha256::new();
        let mut left = size;
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            chunk.truncate(left.min(CHUNK as u64) as usize);
            random.fill_bytes(&mut chunk);
            hash.update(&chunk);
            writer.write_all(&chunk).await?;
            left -= chunk.len() as u64;
        }
        writer.close().await?;
        Result::Ok(hash.finalize())
    };
    let receive = async {
        tokio::time::sleep(delay).await;
        let mut hash = Sha256::new();
        let mut count = 0;
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk).await? {
                0 => return Result::Ok((hash.finalize(), count)),
                n => {
                    hash.update(&chunk[..n]);
                    count += n as u64;
                }
            }
        }
    };
    let (sent, (received, count)) = try_join(send, receive).await?;
    if sent != received {
        return Err(format!("{count} bytes came back for {size}, and not the same").into());
    }
    Ok(count)
}

async fn reset(node: &Node, c: &Command) -> Result<Value> {
    let mut stream = node.open(c.peer.parse()?, RESET).await?;
    stream.write_all(&[1]).await?;
    stream.flush().await?;
    // The library reads a reset as an end; but a stream that only ended can still be written to.
    if let Ok(n) = stream.read(&mut [0]).await
        && (n > 0 || stream.write_all(&[1]).await.is_ok())
    {
        return Err("not reset".into());
    }
    Ok(json!({}))
}

async fn raw(node: &Node, c: &Command) -> Result<Value> {
    let protocol = StreamProtocol::try_from_owned(c.protocol.clone())?;
    let data = BASE64_STANDARD.decode(&c.data)?;
    let mut stream = node.open(c.peer.parse()?, protocol).await?;
    stream.write_all(&data).await?;
    stream.flush().await?;
    if c.half_close {
        stream.close().await?;
    }
    let mut data = Vec::new();
    stream.take(MAX_RAW).read_to_end(&mut data).await?;
    Ok(json!({"data": BASE64_STANDARD.encode(data)}))
}

async fn bootstrap(node: &Node, c: &Command) -> Result<Value> {
    let mut connected = Vec::new();
    let mut failures = Vec::new();
    for addr in &c.addrs {
        match node.connect(addr).await {
            Ok(peer) => connected.push(peer),
            Err(e) => failures.push(e.to_string()),
        }
    }
    if connected.is_empty() {
        return Err(format!("connected to none: {}", failures.join(", ")).into());
    }
    node.poll(move |d| {
        let kad = &mut d.swarm.behaviour_mut().kad;
        let known = |p: &PeerId| {
            kad.kbucket(*p)
                .is_some_and(|b| b.iter().any(|e| e.node.key.preimage() == p))
        };
        connected.iter().any(known).then_some(())
    })
    .await?;
    let mut results = node.query(|kad| kad.bootstrap()).await?;
    while let Some((result, _)) = results.recv().await {
        if let QueryResult::Bootstrap(result) = result {
            result?;
        }
    }
    Ok(json!({}))
}

async fn routing_table(node: &Node) -> Result<Value> {
    let peers = node
        .with(|d| {
            let mut peers = Vec::new();
            for bucket in d.swarm.behaviour_mut().kad.kbuckets() {
                peers.extend(bucket.iter().map(|e| e.node.key.preimage().to_string()));
            }
            peers
        })
        .await?;
    Ok(json!({"peers": peers}))
}

async fn find_node(node: &Node, c: &Command) -> Result<Value> {
    let key = if c.peer.is_empty() {
        BASE64_STANDARD.decode(&c.key)?
    } else {
        c.peer.parse::<PeerId>()?.to_bytes()
    };
    let mut results = node
        .query(|kad| Ok::<_, Infallible>(kad.get_closest_peers(key)))
        .await?;
    let mut peers = Vec::new();
    while let Some((result, _)) = results.recv().await {
        match result {
            QueryResult::GetClosestPeers(Ok(ok)) => peers = ok.peers,
            QueryResult::GetClosestPeers(Err(e @ GetClosestPeersError::Timeout { .. })) => {
                return Err(e.into());
            }
            _ => {}
        }
    }
    Ok(json!({"peers": texts(peers.iter().map(|p| p.peer_id))}))
}

async fn put_value(node: &Node, c: &Command) -> Result<Value> {
    let record = Record::new(
        BASE64_STANDARD.decode(&c.key)?,
        BASE64_STANDARD.decode(&c.value)?,
    );
    let wanted = c.quorum;
    let quorum = wanted.try_into().map_or(Quorum::One, Quorum::N);
    let mut results = node
        .query(move |kad| kad.put_record(record, quorum))
        .await?;
    while let Some((result, _)) = results.recv().await {
        match result {
            QueryResult::PutRecord(Err(PutRecordError::QuorumFailed { .. })) if wanted == 0 => {}
            QueryResult::PutRecord(Err(PutRecordError::QuorumFailed { success, .. })) => {
                return Err(format!("stored by {}, wanted {wanted}", success.len()).into());
            }
            QueryResult::PutRecord(result) => drop(result?),
            _ => {}
        }
    }
    Ok(json!({}))
}

async fn get_value(node: &Node, c: &Command) -> Result<Value> {
    let key = RecordKey::from(BASE64_STANDARD.decode(&c.key)?);
    let mut results = node
        .query(|kad| Ok::<_, Infallible>(kad.get_record(key)))
        .await?;
    while let Some((result, _)) = results.recv().await {
        if let QueryResult::GetRecord(result) = result
            && let GetRecordOk::FoundRecord(found) = result?
        {
            return Ok(json!({"value": BASE64_STANDARD.encode(found.record.value)}));
        }
    }
    Err("not found".into())
}

async fn provide(node: &Node, c: &Command) -> Result<Value> {
    let key = provider_key(&c.cid)?;
    let mut results = node.query(|kad| kad.start_providing(key)).await?;
    while let Some((result, _)) = results.recv().await {
        if let QueryResult::StartProviding(result) = result {
            result?;
        }
    }
    Ok(json!({}))
}

async fn find_providers(node: &Node, c: &Command) -> Result<Value> {
    let key = provider_key(&c.cid)?;
    let mut results = node
        .query(|kad| Ok::<_, Infallible>(kad.get_providers(key)))
        .await?;
    let mut providers = BTreeMap::new();
    while let Some((result, addresses)) = results.recv().await {
        if let QueryResult::GetProviders(result) = result
            && let GetProvidersOk::FoundProviders { .. } = result?
        {
            providers.extend(addresses);
        }
        if c.count > 0 && providers.len() >= c.count {
            break;
        }
    }
    let limit = if c.count > 0 {
        c.count
    } else {
        providers.len()
    };
    let providers: Vec<_> = providers
        .iter()
        .take(limit)
        .map(|(peer, addrs)| json!({"peer_id": peer.to_string(), "addrs": texts(addrs)}))
        .collect();
    Ok(json!({"providers": providers}))
}

fn provider_key(cid: &str) -> Result<RecordKey> {
    Ok(RecordKey::from(Cid::try_from(cid)?.hash().to_bytes()))
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}
