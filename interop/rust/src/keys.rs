//! Identities of every key type, random or from a seed.

use libp2p::identity::{Keypair, ecdsa, secp256k1};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{OsRng, RngCore, SeedableRng},
};
use rsa::{RsaPrivateKey, pkcs8::EncodePrivateKey};
use sha2::{Digest, Sha256};

use crate::Result;

pub fn new_key(key_type: &str, seed: Option<u64>) -> Result<Keypair> {
    let mut secret = [0; 32];
    match seed {
        Some(seed) => secret = Sha256::digest(format!("{key_type} {seed}")).into(),
        None => OsRng.fill_bytes(&mut secret),
    }
    Ok(match key_type {
        "ed25519" => Keypair::ed25519_from_bytes(secret)?,
        "secp256k1" => {
            secp256k1::Keypair::from(secp256k1::SecretKey::try_from_bytes(secret)?).into()
        }
        "ecdsa" => ecdsa::Keypair::from(ecdsa::SecretKey::try_from_bytes(secret)?).into(),
        "rsa" => {
            let key = RsaPrivateKey::new(&mut ChaCha20Rng::from_seed(secret), 2048)?;
            let mut der = key.to_pkcs8_der()?.as_bytes().to_vec();
            Keypair::rsa_from_pkcs8(&mut der)?
        }
        _ => return Err(format!("unknown key type {key_type}").into()),
    })
}
