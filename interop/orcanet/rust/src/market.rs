//! The OrcaNet market service as the Rust programs declare it: `User.id` is a string.
//!
//! Written by hand: four small messages and two calls need no protoc to build, and this is what the generator
//! would make of them. The tests beside it compare it on the wire with what Go has generated.

use http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub struct User {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub ip: String,
    #[prost(int32, tag = "4")]
    pub port: i32,
    #[prost(int64, tag = "5")]
    pub price: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckHoldersRequest {
    #[prost(string, tag = "1")]
    pub file_hash: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterFileRequest {
    #[prost(message, optional, tag = "1")]
    pub user: Option<User>,
    #[prost(string, tag = "2")]
    pub file_hash: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HoldersResponse {
    #[prost(message, repeated, tag = "1")]
    pub holders: Vec<User>,
}

pub struct MarketClient(tonic::client::Grpc<Channel>);

impl MarketClient {
    pub fn new(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    pub async fn register_file(
        &mut self,
        request: Request<RegisterFileRequest>,
    ) -> Result<(), Status> {
        self.unary(request, "/market.Market/RegisterFile").await
    }

    pub async fn check_holders(
        &mut self,
        request: Request<CheckHoldersRequest>,
    ) -> Result<HoldersResponse, Status> {
        self.unary(request, "/market.Market/CheckHolders").await
    }

    async fn unary<Q, A>(&mut self, request: Request<Q>, path: &'static str) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.0
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = self
            .0
            .unary(request, PathAndQuery::from_static(path), codec)
            .await?;
        Ok(answer.into_inner())
    }
}
