"""A node asked by a program that has none of our .proto files: they come from the server, as for grpcurl.

python examples/call_by_reflection.py HOST:PORT     a node that runs; without, one is started here
"""

from __future__ import annotations

import asyncio
import os
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToJson
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE, METHOD = "fastmarket.v1.Market", "GetNode"


def ask(address: str) -> None:
    """Prints the services, and the answer to one call as JSON."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        print("services:", *sorted(database.get_services()))
        method = DescriptorPool(database).FindServiceByName(SERVICE).FindMethodByName(METHOD)
        request, reply = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary(
            f"/{SERVICE}/{METHOD}",
            request_serializer=request.SerializeToString,
            response_deserializer=reply.FromString,
        )
        print(MessageToJson(call(request(), timeout=10)))


async def main() -> None:
    """Asks the node named on the command line, or its own."""
    if len(sys.argv) > 1:
        ask(sys.argv[1])
        return
    from fastmarket import Identity, Node, NodeConfig
    from fastmarket.config import HostConfig, MarketConfig

    config = NodeConfig(host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)), market=MarketConfig(port=0))
    async with Node(config, Identity.from_seed(os.urandom(32))) as node:
        await asyncio.to_thread(ask, node.grpc_address)


if __name__ == "__main__":
    asyncio.run(main())
