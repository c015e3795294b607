#!/usr/bin/env bash
# ipfs-unixfs-exporter 16.2.2 (npm) shows a UnixFS symlink as a file without content: its type is "file", its
# size the length of the target, and its content is empty: the target is not given out, and fewer bytes come
# than the size tells. `ipfs get` makes a link of the same block.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ipfs-unixfs-exporter@16.2.2 ipfs-unixfs@13.1.1 @ipld/dag-pb@4.2.0 blockstore-core multiformats@14.0.5
cat > probe.mjs <<'JS'
import * as dagPB from '@ipld/dag-pb'
import { MemoryBlockstore } from 'blockstore-core'
import { UnixFS } from 'ipfs-unixfs'
import { exporter } from 'ipfs-unixfs-exporter'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
const store = new MemoryBlockstore()
const block = dagPB.encode(dagPB.prepare({ Data: new UnixFS({ type: 'symlink', data: new TextEncoder().encode('target') }).marshal() }))
const cid = CID.createV1(dagPB.code, await sha256.digest(block))
await store.put(cid, block)
const entry = await exporter(cid, store)
let content = ''
for await (const piece of entry.content()) content += new TextDecoder().decode(piece)
console.log('type', entry.type, 'size', String(entry.size), 'content', JSON.stringify(content), 'in the node:', entry.unixfs.type, new TextDecoder().decode(entry.unixfs.data))
JS
got=$(node probe.mjs 2>&1)
want=$(cat <<'WANT'
type file size 6 content "" in the node: symlink target
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
